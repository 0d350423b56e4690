"""What `kubectl explain` says about fields: `Struct` or `Struct.wireName` → text. Data.

Only where there is something to say that the name does not; what a field of a container means, Kubernetes says.

Source: spec/serving.md §2, §5.3, §10.2, §12.
"""

DOCS: dict[str, str] = {
    "Service": (
        "A Service is the whole life of one workload: it makes a Configuration, which makes a Revision for each change "
        "of the template, and a Route, which gives them an address and splits its traffic."
    ),
    "Configuration": "The latest wanted state of a workload. Each change of its template makes a new Revision.",
    "Revision": "An unchanging snapshot of code and configuration. Scaled with its load, down to nothing.",
    "Route": "An address and the Revisions that answer it, by percent and by tag.",
    "PodAutoscaler": "How many pods a Revision has and should have. Made and read by the system.",
    "Resource.metadata": "Standard object metadata.",
    "Resource.apiVersion": "The version of this representation of the object.",
    "Resource.kind": "The kind of the object.",
    "Service.spec": "What is wanted.",
    "Service.status": "What was found. Written by the system.",
    "Configuration.spec": "What is wanted.",
    "Configuration.status": "What was found. Written by the system.",
    "Revision.spec": "What runs. Never changes.",
    "Revision.status": "What was found. Written by the system.",
    "Route.spec": "What is wanted.",
    "Route.status": "What was found. Written by the system.",
    "Pod.spec": "What runs.",
    "Pod.status": "What was found. Written by the system.",
    "ServiceSpec.template": "What each new Revision is made from. A change here makes a new Revision.",
    "ServiceSpec.traffic": (
        "Which Revisions get which share of the requests. Percents sum to 100. Without it, all goes to the latest "
        "Revision that is ready."
    ),
    "ConfigurationSpec.template": "What each new Revision is made from. A change here makes a new Revision.",
    "RouteSpec.traffic": "Which Revisions get which share of the requests. Percents sum to 100.",
    "RevisionTemplate.metadata": (
        "Labels and annotations of the Revision, autoscaling.knative.dev/* among them. A name must begin with the name "
        "of the Service and a hyphen."
    ),
    "RevisionTemplate.spec": "What runs.",
    "RevisionSpec": "The containers of a Revision and how requests reach them.",
    "RevisionSpec.containerConcurrency": (
        "How many requests a container may work on at the same time; further requests wait for a free container. "
        "0 (the default) means no limit; otherwise 1 to 1000. This limit is hard and is independent of the "
        "autoscaler's target, which it bounds."
    ),
    "RevisionSpec.timeoutSeconds": (
        "The longest that a request may take, in seconds, from its arrival to the end of the answer. "
        "Default 300, at most 600 unless configured otherwise."
    ),
    "RevisionSpec.responseStartTimeoutSeconds": (
        "The longest until the first byte of the answer, in seconds. Not more than timeoutSeconds."
    ),
    "RevisionSpec.idleTimeoutSeconds": (
        "The longest silence, in seconds, after which a request is ended. Not more than timeoutSeconds."
    ),
    "PodSpec.containers": (
        "The containers. Exactly one has a port: requests go there. Others (sidecars) run beside it and share volumes."
    ),
    "PodSpec.initContainers": "Run one after the other, to their end, before the containers start.",
    "PodSpec.volumes": "What the containers may mount: configMap, secret, projected, emptyDir.",
    "PodSpec.serviceAccountName": "The identity under which the pods run.",
    "PodSpec.imagePullSecrets": "Secrets for private registries.",
    "PodSpec.terminationGracePeriodSeconds": "Seconds between SIGTERM and SIGKILL.",
    "TrafficTarget.revisionName": "A certain Revision. Excludes latestRevision.",
    "TrafficTarget.configurationName": "The latest ready Revision of a Configuration. Only in a Route.",
    "TrafficTarget.latestRevision": "The latest ready Revision, whichever that is.",
    "TrafficTarget.percent": "Share of the requests to the main address, 0 to 100.",
    "TrafficTarget.tag": "Also reachable at an address of its own: tag-name.namespace.domain.",
    "TrafficTarget.url": "The tag's address. Written by the system.",
    "Container.name": "Unique in the pod. Defaulted to user-container.",
    "Container.image": (
        "Image or, on one machine, a name in the images file, python://module:app, or a demo:// program. "
        "May be left out when there is a command."
    ),
    "Container.command": "What runs, instead of the image's entry point.",
    "Container.args": "Arguments, instead of the image's.",
    "Container.workingDir": "Where it starts.",
    "Container.env": "Environment. PORT, K_SERVICE, K_REVISION and K_CONFIGURATION are set by the system.",
    "Container.envFrom": "ConfigMaps and Secrets whose keys become environment variables.",
    "Container.ports": "At most one: where the container listens. It gets the number in PORT.",
    "Container.resources": "Limits and requests of cpu and memory.",
    "Container.volumeMounts": "Where volumes appear.",
    "Container.readinessProbe": "When it succeeds, requests are sent. Without it: when the port accepts connections.",
    "Container.livenessProbe": "When it fails, the container is restarted.",
    "Container.startupProbe": "Until it succeeds, the others wait.",
    "Container.imagePullPolicy": "Always, IfNotPresent or Never.",
    "Container.securityContext": "User, group, capabilities.",
    "ContainerPort.containerPort": "The number.",
    "ContainerPort.name": "h2c for HTTP/2 without TLS, http1 or nothing for HTTP/1.1.",
    "ContainerPort.protocol": "TCP.",
    "EnvVar.name": "Name of the variable.",
    "EnvVar.value": "Its value; $(OTHER) is replaced by another variable's.",
    "EnvVar.valueFrom": "Where its value comes from: a key of a ConfigMap or Secret.",
    "Condition.type": "What this is about.",
    "Condition.status": "True, False or Unknown.",
    "Condition.reason": "One word why.",
    "Condition.message": "A sentence why.",
    "Condition.severity": "Empty for what Ready depends on, Info for the rest.",
    "Condition.lastTransitionTime": "When it last changed.",
    "ServiceStatus.url": "Where it is reached.",
    "ServiceStatus.address": "Where it is reached from within the cluster.",
    "ServiceStatus.observedGeneration": "The generation of the spec that this status is about.",
    "ServiceStatus.conditions": "Ready, ConfigurationsReady and RoutesReady.",
    "ServiceStatus.latestCreatedRevisionName": "The newest Revision.",
    "ServiceStatus.latestReadyRevisionName": "The newest Revision that is ready.",
    "ServiceStatus.traffic": "The split in effect, with the Revisions' names.",
    "Broker": (
        "A Broker takes CloudEvents at its address, keeps them, and gives each to every Trigger that it matches. The "
        "annotation eventing.knative.dev/broker.class chooses how they are kept."
    ),
    "Broker.spec": "What is wanted. Only delivery may change.",
    "Broker.status": "What was found. Written by the system.",
    "BrokerSpec.config": "The ConfigMap that says how this Broker keeps its events.",
    "BrokerSpec.delivery": "How hard to try to deliver, for Triggers that do not say.",
    "BrokerStatus.address": "Where events are POSTed.",
    "BrokerStatus.annotations": "What was read from the ConfigMap, and which store keeps the events.",
    "BrokerStatus.deadLetterSinkUri": "Where events go that no attempt could deliver.",
    "Trigger": "A Trigger sends those events of a Broker that pass its filters to its subscriber.",
    "Trigger.spec": "What is wanted. The Broker may not change.",
    "Trigger.status": "What was found. Written by the system.",
    "TriggerSpec.broker": "Name of the Broker, in the same namespace. It need not exist yet.",
    "TriggerSpec.brokerRef": "The Broker as a reference, instead of its name.",
    "TriggerSpec.filter": "Exact values of attributes; an empty value means that the attribute must be there.",
    "TriggerSpec.filters": (
        "All must match. Each is one of exact, prefix, suffix (attribute: text), all, any (filters), not (a filter), "
        "cesql (an expression over attributes), jsonpath, cel (looking into JSON data). When there are any, "
        "spec.filter is not looked at."
    ),
    "TriggerSpec.subscriber": "Where the events go. An event in its answer goes into the Broker.",
    "TriggerSpec.delivery": "How hard to try. As a whole instead of the Broker's, but for its dead letter sink.",
    "TriggerFilter.attributes": "Attribute: exact value. All must match.",
    "TriggerStatus.subscriberUri": "The subscriber, resolved.",
    "TriggerStatus.deadLetterSinkUri": "The dead letter sink in force, of the Trigger or of its Broker.",
    "TriggerStatus.annotations": "delivery.dataplane.dev/started-at: where it began to read.",
    "Destination.ref": "An object that has an address. With uri: what uri is relative to.",
    "Destination.uri": "A URL; relative when there is a ref.",
    "Destination.CACerts": "PEM certificates that sign it, besides those of the system.",
    "Destination.audience": "For whom tokens are made.",
    "KReference.apiVersion": "API version of what is meant; v1 with kind Service is a name for the network.",
    "KReference.kind": "Kind of what is meant.",
    "KReference.name": "Its name.",
    "KReference.namespace": "Its namespace, if it is another one.",
    "KReference.address": "Which of its addresses, by name.",
    "DeliverySpec.deadLetterSink": "Where an event goes that no attempt could deliver.",
    "DeliverySpec.retry": "Attempts after the first.",
    "DeliverySpec.timeout": "Of one attempt, as PT30S.",
    "DeliverySpec.backoffPolicy": "How waits grow: linear or exponential.",
    "DeliverySpec.backoffDelay": "The first wait, as PT0.2S.",
    "DeliverySpec.retryAfterMax": "The longest wait that a Retry-After may ask for; PT0S: it is not listened to.",
    "DeliverySpec.format": "json sends structured events, binary (the default) binary ones.",
    "ObjectMeta": "What every object has.",
    "ObjectMeta.name": "Unique among the objects of its kind in its namespace. Never changes.",
    "ObjectMeta.generateName": "Used with a random ending when there is no name.",
    "ObjectMeta.namespace": "Where it lives.",
    "ObjectMeta.uid": "Unique over time.",
    "ObjectMeta.resourceVersion": "Changes with every write; send it back to write only if nobody else did.",
    "ObjectMeta.generation": "Counts the changes of the spec.",
    "ObjectMeta.labels": "What selectors look at.",
    "ObjectMeta.annotations": "Everything else that is to be remembered about it.",
    "ObjectMeta.ownerReferences": "Deleted when all of these are.",
    "ObjectMeta.finalizers": "Not removed before this is empty.",
    "ConfigMap": "Configuration as text.",
    "ConfigMap.data": "Text by key.",
    "ConfigMap.binaryData": "Bytes by key, base64.",
    "Secret": "Configuration that is not shown.",
    "Secret.data": "Bytes by key, base64.",
    "Secret.stringData": "Text by key; written into data.",
    "Secret.type": "What it is for; Opaque if nothing special.",
    "Namespace": "A place for names.",
    "Pod": "Processes that run together on this machine.",
    "Event": "Something that happened to an object.",
}
