"""The schema of a JobSet (jobset.x-k8s.io/v1alpha2), as far as `launch gke` makes use of it.

Fields, types and choices are those of the custom resource's own definition, of batch/v1 Job and of
a core/v1 Pod. A field that is not listed is an offence: nothing is written that was not looked up.
"""

from collections.abc import Iterator
from typing import Any

_TEXT, _NUMBER = {"type": str}, {"type": int}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": dict, "required": required, "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": list, "items": items}


def _map(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": dict, "values": values}


def _choice(*names: str) -> dict[str, Any]:
    return {"type": str, "enum": names}


_METADATA = _object(("name",), name=_TEXT, labels=_map(_TEXT), annotations=_map(_TEXT))
_CONTAINER = _object(
    ("name", "image"),
    name=_TEXT,
    image=_TEXT,
    command=_list(_TEXT),
    env=_list(_object(("name",), name=_TEXT, value=_TEXT)),
    ports=_list(_object(("containerPort",), containerPort=_NUMBER)),
    resources=_object(limits=_map({"type": (int, str)}), requests=_map({"type": (int, str)})),
)
_POD = _object(
    ("containers",),
    containers=_list(_CONTAINER),
    restartPolicy=_choice("Never", "OnFailure"),  # of a pod in a Job
    nodeSelector=_map(_TEXT),
    terminationGracePeriodSeconds=_NUMBER,
)
_POD_RULE = _object(
    ("action",),
    action=_choice("FailJob", "FailIndex", "Ignore", "Count"),
    onExitCodes=_object(
        ("operator", "values"),
        containerName=_TEXT,
        operator=_choice("In", "NotIn"),
        values=_list(_NUMBER),
    ),
)
_JOB = _object(
    ("template",),
    parallelism=_NUMBER,
    completions=_NUMBER,
    completionMode=_choice("Indexed", "NonIndexed"),
    backoffLimit=_NUMBER,
    podFailurePolicy=_object(("rules",), rules=_list(_POD_RULE)),
    template=_object(("spec",), metadata=_METADATA, spec=_POD),
)
_FAILURE_RULE = _object(
    ("action", "name"),
    action=_choice("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"),
    name=_TEXT,
    onJobFailureReasons=_list(
        _choice(
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
            "PodFailurePolicy",
        )
    ),
    targetReplicatedJobs=_list(_TEXT),
)
JOB_SET = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion=_choice("jobset.x-k8s.io/v1alpha2"),
    kind=_choice("JobSet"),
    metadata=_METADATA,
    spec=_object(
        ("replicatedJobs",),
        failurePolicy=_object(
            maxRestarts=_NUMBER,
            restartStrategy=_choice("Recreate", "BlockingRecreate"),
            rules=_list(_FAILURE_RULE),
        ),
        replicatedJobs=_list(
            _object(
                ("name", "template"),
                name=_TEXT,
                replicas=_NUMBER,
                template=_object(("spec",), spec=_JOB),
            )
        ),
    ),
)


def offences(value: Any, schema: dict[str, Any] = JOB_SET, place: str = "") -> Iterator[str]:
    """Where `value` is not what the schema says, each with its place."""
    kinds = schema["type"] if isinstance(schema["type"], tuple) else (schema["type"],)
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        yield f"{place or 'the manifest'} is {value!r}, which is no {names}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is {value!r} and not one of {', '.join(schema['enum'])}"
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{place or 'the manifest'} has no {name}"
    for i, item in enumerate(value if "items" in schema else ()):
        yield from offences(item, schema["items"], f"{place}[{i}]")
    for name, item in (value if isinstance(value, dict) else {}).items():
        inner = schema.get("values") or schema["properties"].get(name)
        here = f"{place}.{name}".lstrip(".")
        if inner is None:
            yield f"{here} is no field that is known"
        else:
            yield from offences(item, inner, here)
