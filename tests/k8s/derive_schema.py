"""Make the strict JSON schemas of schema/ again, from a checkout of KServe (https://github.com/kserve/kserve, Apache-2.0):

    git -C KSERVE checkout v0.20.0 && python derive_schema.py KSERVE schema/0.20
    git -C KSERVE checkout v0.15.2 && python derive_schema.py KSERVE schema/0.15

A custom resource's schema lets unknown fields pass, which the API server then drops; here they fail, so that a misspelt field is
found. Descriptions and defaults are left out and equal parts shared, which makes a hundredth of the size.
"""

import collections
import json
import pathlib
import sys

import yaml

KINDS = {"inferenceservices": "v1beta1", "clusterservingruntimes": "v1alpha1"}
KEPT = {
    "type", "required", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "multipleOf",
}
# Shorter ones are no shorter as references.
SHARED_FROM_CHARACTERS = 23


def children_changed(schema, change):
    """The schema with `change` applied to the schemas directly inside it."""
    changed = {}
    for key, value in schema.items():
        if key == "properties":
            changed[key] = {name: change(part) for name, part in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            changed[key] = change(value)
        elif key in ("anyOf", "oneOf", "allOf"):
            changed[key] = [change(part) for part in value]
        else:
            changed[key] = value
    return changed


def strict(schema):
    """The JSON schema of an OpenAPI schema of Kubernetes."""
    structural = {"properties", "items", "additionalProperties", "not", "anyOf", "oneOf", "allOf"}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields", False)
    kept = {key: value for key, value in schema.items() if key in KEPT | structural}
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("anyOf", None)
        kept["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in kept:
        kept["type"] = [kept["type"], "null"]
    if "properties" in kept and "additionalProperties" not in kept and not open_ended:
        kept["additionalProperties"] = False
    return children_changed(kept, strict)


def text(schema):
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def shared(schema):
    """The schema with what it holds more than once under `$defs`."""
    seen = collections.Counter()

    def count(part):
        seen[text(part)] += 1
        if seen[text(part)] == 1:
            children_changed(part, count)
        return part

    children_changed(schema, count)
    definitions = {}
    names = {}

    def refer(part):
        key = text(part)
        if seen[key] < 2 or len(key) < SHARED_FROM_CHARACTERS:
            return children_changed(part, refer)
        if key not in names:
            names[key] = f"d{len(names)}"
            definitions[names[key]] = children_changed(part, refer)
        return {"$ref": f"#/$defs/{names[key]}"}

    return {**children_changed(schema, refer), "$defs": definitions}


def derive(crd, version):
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    [found] = [each for each in crd["spec"]["versions"] if each["name"] == version]
    schema = strict(found["schema"]["openAPIV3Schema"])
    # The status is the controller's, and the metadata is not described in a custom resource's schema.
    schema["properties"].pop("status", None)
    schema["properties"] |= {
        "apiVersion": {"enum": [f"{group}/{version}"]}, "kind": {"enum": [kind]}, "metadata": {"type": "object"},
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return kind, {"$schema": "https://json-schema.org/draft/2020-12/schema", **shared(schema)}


def main():
    checkout, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    folder = checkout / "config/crd/full"
    for name, version in KINDS.items():
        crd = yaml.load((folder / f"serving.kserve.io_{name}.yaml").read_text(), yaml.CSafeLoader)
        kind, schema = derive(crd, version)
        (out / f"{kind}.json").write_text(json.dumps(schema, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
