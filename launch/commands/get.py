"""`dataplane get`: lists and objects, as kubectl prints them; the server makes the tables."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launch.options import complete_targets, data_option, namespace_option

if TYPE_CHECKING:
    from dataplane.resources.kinds import Kind
    from launch.client import Client, Object
    from launch.names import Target


@click.command(short_help="Show resources.")
@click.argument("what", nargs=-1, required=True, shell_complete=complete_targets)
@namespace_option
@data_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@click.option("-o", "--output", default="", metavar="FORMAT", help="wide, yaml, json, name, jsonpath=TEMPLATE.")
@click.option("-w", "--watch", is_flag=True, help="Print changes until interrupted.")
@click.option("-l", "--selector", default="", help="Label selector, e.g. app=web,tier!=cache.")
@click.option("--field-selector", default="", help="E.g. metadata.name=hello.")
@click.option("--no-headers", is_flag=True, help="Without the line of column names.")
def command(
    what: tuple[str, ...],
    namespace: str,
    data: Path,
    all_namespaces: bool,
    output: str,
    watch: bool,
    selector: str,
    field_selector: str,
    no_headers: bool,
) -> int:
    """Show resources: TYPE, TYPE NAME, TYPE/NAME, TYPE,TYPE, or a category such as all or knative.

    \b
    dataplane get ksvc -w
    dataplane get rev,pods -o wide
    dataplane get ksvc/hello -o jsonpath='{.status.url}'
    """
    from launch.client import connect
    from launch.names import targets

    form = output.partition("=")[0]
    if form not in ("", "wide", "yaml", "json", "name", "jsonpath"):
        raise click.UsageError(f"-o {output}: expected wide, yaml, json, name or jsonpath=TEMPLATE")
    wanted = targets(what)
    if watch and len({target.kind.kind for target in wanted}) > 1:
        raise click.UsageError("-w follows one kind at a time")
    if all_namespaces and any(target.name for target in wanted):
        raise click.UsageError("a resource is found by name in one namespace; use -n NS instead of -A")
    ask = _Ask(connect(data), None if all_namespaces else namespace, selector, field_selector)
    if form in ("", "wide"):
        return _tables(ask, wanted, wide=form == "wide", headers=not no_headers, watch=watch)
    return _objects(ask, wanted, output, watch=watch)


class _Ask:
    """How to ask for a target: its namespace and selectors."""

    def __init__(self, client: "Client", namespace: str | None, selector: str, fields: str) -> None:
        self.client, self.namespace, self._selector, self._fields = client, namespace, selector, fields

    def once(self, target: "Target", accept: str) -> "Object":
        from launch.client import path_of

        if target.name:
            return self.client.get(path_of(target.kind, self.namespace, target.name), accept=accept)
        return self.client.get(self._list(target), accept=accept)

    def changes(self, target: "Target", since: str, accept: str) -> Iterator["Object"]:
        path = self._list(target, watch="true", resourceVersion=since)
        for line in self.client.lines(path, accept=accept):
            if line.strip():
                yield json.loads(line)

    def _list(self, target: "Target", **query: str) -> str:
        from launch.client import path_of

        fields = ",".join(
            part for part in (self._fields, f"metadata.name={target.name}" if target.name else "") if part
        )
        return path_of(target.kind, self.namespace, labelSelector=self._selector, fieldSelector=fields, **query)


def _tables(ask: _Ask, wanted: list["Target"], *, wide: bool, headers: bool, watch: bool) -> int:
    from launch.client import TABLE

    many = len({target.kind.kind for target in wanted}) > 1
    groups: dict[str, list[Target]] = {}
    for target in wanted:
        groups.setdefault(target.kind.plural, []).append(target)
    shown = 0
    for group in groups.values():
        table = _Table(group[0].kind, wide=wide, with_namespace=ask.namespace is None, prefixed=many)
        rows: list[list[str]] = []
        version = ""
        for target in group:
            body = ask.once(target, TABLE)
            version = body.get("metadata", {}).get("resourceVersion", "") or version
            rows += table.rows(body)
        if rows:
            if shown and headers:
                click.echo()
            for line in table.lines(rows, headers=headers):
                click.echo(line)
            shown += len(rows)
        if watch:
            _follow_table(ask, group, table, version, headers=headers and not rows)
    if not shown and not watch:
        where = "" if ask.namespace is None else f" in {ask.namespace} namespace"
        click.echo(f"No resources found{where}.", err=True)
    return 0


def _follow_table(ask: _Ask, group: list["Target"], table: "_Table", version: str, *, headers: bool) -> None:
    """Rows as they change. A deleted object's last row is printed too, as kubectl does."""
    from launch.client import TABLE
    from launch.instance import Failure

    names = {target.name for target in group if target.name}
    target = group[0] if len(group) == 1 else group[0]._replace(name="")
    for event in ask.changes(target, version, TABLE):
        if event.get("type") == "ERROR":
            raise Failure(str(event.get("object", {}).get("message", "the watch ended")))
        body = event.get("object", {})
        if event.get("type") == "BOOKMARK":
            continue
        for row in table.rows(body, only=names):
            for line in table.lines([row], headers=headers):
                click.echo(line)
            headers = False


class _Table:
    """Turns the server's Table bodies into lines; widths only grow, so that a watch stays aligned."""

    def __init__(self, kind: "Kind", *, wide: bool, with_namespace: bool, prefixed: bool) -> None:
        self._kind, self._wide, self._prefixed = kind, wide, prefixed
        self._with_namespace = with_namespace and kind.namespaced
        self._columns: list[Any] = []
        self._widths: list[int] = []

    def rows(self, body: "Object", only: set[str] | None = None) -> list[list[str]]:
        self._columns = body.get("columnDefinitions") or self._columns
        out = []
        for row in body.get("rows") or []:
            meta = row.get("object", {}).get("metadata", {})
            if only and meta.get("name") not in only:
                continue
            cells = ["" if cell is None else str(cell) for cell in row["cells"]]
            shown = [c for c, column in zip(cells, self._columns, strict=False) if self._visible(column)]
            if self._prefixed and shown:
                from launch.names import full_name

                shown[0] = full_name(self._kind, shown[0])
            out.append([meta.get("namespace", ""), *shown] if self._with_namespace else shown)
        return out

    def lines(self, rows: list[list[str]], *, headers: bool) -> list[str]:
        from launch.tables import line_of, widened

        names = [str(column["name"]).upper() for column in self._columns if self._visible(column)]
        head = [["NAMESPACE", *names] if self._with_namespace else names] if headers else []
        self._widths = widened(self._widths, [*head, *rows])
        return [line_of(row, self._widths) for row in [*head, *rows]]

    def _visible(self, column: "Object") -> bool:
        return self._wide or not column.get("priority")


def _objects(ask: _Ask, wanted: list["Target"], output: str, *, watch: bool) -> int:
    from dataplane.resources.kinds import BY_KIND

    found: list[Object] = []
    version = ""
    for target in wanted:
        body = ask.once(target, "application/json")
        if "items" in body:
            version = body.get("metadata", {}).get("resourceVersion", "")
            head = {"apiVersion": target.kind.api_version, "kind": target.kind.kind}
            found += [{**head, **item} for item in body["items"]]
        else:
            version = body["metadata"].get("resourceVersion", "")
            found.append(body)
    single = len(wanted) == 1 and bool(wanted[0].name) and len(found) == 1
    if not watch:
        _print(found[0] if single else _list(found), output)
        return 0
    for one in found:
        _print(one, output)
    for event in ask.changes(wanted[0], version, "application/json"):
        kind = event.get("object", {}).get("kind", "")
        if event.get("type") in ("ADDED", "MODIFIED", "DELETED") and any(kind == k for _, k in BY_KIND):
            _print(event["object"], output)
    return 0


def _list(items: list["Object"]) -> "Object":
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}


def _print(body: "Object", output: str) -> None:
    form, _, template = output.partition("=")
    if form in ("json", "yaml"):
        body = _without_managers(body)
    if form == "json":
        click.echo(json.dumps(body, indent=4, ensure_ascii=False))
    elif form == "yaml":
        click.echo(as_yaml(body), nl=False)
    elif form == "name":
        from dataplane.resources.kinds import BY_KIND
        from launch.names import full_name

        for one in body["items"] if body.get("kind") == "List" else [body]:
            group = one["apiVersion"].rpartition("/")[0]
            click.echo(full_name(BY_KIND[group, one["kind"]], one["metadata"]["name"]))
    else:
        from launch.jsonpath import render

        try:
            click.echo(render(template, body), nl=False)
        except ValueError as error:
            raise click.UsageError(f"-o {output}: {error}") from None


def _without_managers(body: "Object") -> "Object":
    """Who owns which field is for server-side apply, not for people; kubectl leaves it out, too."""
    if body.get("kind") == "List":
        return body | {"items": [_without_managers(one) for one in body["items"]]}
    return body | {"metadata": {key: value for key, value in body["metadata"].items() if key != "managedFields"}}


def as_yaml(body: object) -> str:
    """Block style, keys in the order of the server, long texts unfolded."""
    import yaml

    text: str = yaml.dump(
        body, Dumper=yaml.CSafeDumper, default_flow_style=False, sort_keys=False, allow_unicode=True, width=1000
    )
    return text
