"""`dataplane config`: the settings in force, and where each came from."""

import click


@click.command(short_help="Print the settings in force and where each came from.")
@click.argument("section", required=False, default="")
@click.option("--origin", is_flag=True, help="Where each value came from: flag, env, file or default.")
@click.option("--help-settings", "explain", is_flag=True, help="What each setting means, its variable and its bounds.")
def command(section: str, origin: bool, explain: bool) -> int:
    """Print the settings in force, all or of one SECTION.

    Precedence: flag, then DATAPLANE_<SECTION>_<FIELD>, then ./dataplane.yaml, then
    $XDG_CONFIG_HOME/dataplane/config.yaml, then the default.
    """
    from dataplane.errors import ConfigFault
    from dataplane.runtime.config import fields
    from launch.instance import Failure
    from launch.settings import SECTIONS, loaded

    if section and section not in SECTIONS:
        raise click.UsageError(f"no section {section!r}; there are: {', '.join(SECTIONS)}")
    try:
        found = loaded()
    except ConfigFault as error:
        raise Failure(str(error)) from None
    told = {(field.section, field.name): field for field in fields(SECTIONS)}
    for value in found.values:
        if section and value.section != section:
            continue
        click.echo(value.line + (f" ({value.origin})" if origin else ""))
        if explain:
            field = told[value.section, value.name]
            click.echo(f"    {field.setting.help}; {field.setting.why or 'no more to say'} [{field.variable}]")
    return 0
