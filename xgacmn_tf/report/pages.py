"""Environment of the HTML templates, which escape all text and reject undefined names."""

import functools

import jinja2


@functools.cache  # It keeps compiled templates, for searches that write one page after the other.
def environment(package: str) -> jinja2.Environment:
    """Return the templates in the folder of a package, such as "xgacmn_tf.report"."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
