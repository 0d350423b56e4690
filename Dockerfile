# One image for every role: the argument chooses, e.g. `dataplane gateway --control http://…`.
# Nothing in here needs a particular engine; BASE may be any Debian-like image with Python 3.11 or newer.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/dataplane
COPY pyproject.toml README.md ./
COPY dataplane dataplane
COPY gateway gateway
COPY activator activator
COPY queueproxy queueproxy
COPY autoscaler autoscaler
COPY broker broker
COPY controlplane controlplane
COPY launch launch
# Bytecode is the cold start: pip compiles what it installs, compileall makes sure of it.
RUN /opt/dataplane/bin/pip install --no-cache-dir --disable-pip-version-check . \
 && /opt/dataplane/bin/python -m compileall -q /opt/dataplane/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="dataplane" \
      org.opencontainers.image.description="Knative's model as one asyncio data plane" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/dataplane /opt/dataplane
RUN mkdir -p /data && chown 65532:65532 /data
ENV PATH=/opt/dataplane/bin:$PATH DATAPLANE_DATA=/data
WORKDIR /data
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 8080 8001 8082
ENTRYPOINT ["dataplane"]
CMD ["--help"]
