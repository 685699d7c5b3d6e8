"""Holds phlox's safetensors reader and writer against the reference package: same verdict on every file, same tensors
where both accept, same bytes where both write. phlox refuses more in a few named cases and never accepts more.

usage: safetensors_agreement.py PROGRAM [--mutants N] [--packages FOLDER]
The package is imported, or fetched by pip into FOLDER. Exit status 77 when it cannot be had.
"""
import argparse
import collections
import ctypes
import json
import re
import subprocess
import sys

VERSION = "0.8.0"

# What phlox refuses although the reference does not, by phlox's error: see the head of src/format/safetensors.h.
STRICTER = {
    "white space before the header": r"does not begin with '\{'; got \"( |\\t|\\n|\\r)\"",
    "duplicate keys": r"stands twice",
    "NUL in a name": r"holds a NUL",
    "names over 1 KiB": r"the name .* is too long",
    "dimensions over 2^63": r"has a dimension that is too large",
    "more than 64 dimensions": r"has too many dimensions",
    "null for the metadata": r"malformed at \"__metadata__\"; got null at byte \d+; expected an object",
    "a tensor's entry as an array": r"got an array at byte \d+; expected an object",
    "a dtype as an object": r"got an object at byte \d+; expected a string",
    "nesting over 64": r"nesting deeper than 64",
    "too many metadata entries": r"__metadata__ has too many entries",
}


def import_reference(folder):
    try:
        import safetensors
        return safetensors
    except ImportError:
        pass
    if not folder:
        return None
    sys.path.insert(0, folder)
    try:
        import safetensors
        return safetensors
    except ImportError:
        pass
    try:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check",
                        "--no-deps", "--retries", "0", "--timeout", "15", "--root-user-action=ignore",
                        "--target", folder, f"safetensors=={VERSION}"], check=True, timeout=120, capture_output=True)
    except (subprocess.SubprocessError, OSError):
        return None
    import importlib
    importlib.invalidate_caches()
    try:
        import safetensors
        return safetensors
    except ImportError:
        return None


def files(program, mutants):
    out = subprocess.run([program, str(mutants)], check=True, capture_output=True).stdout
    at = 0
    while at < len(out):
        end = out.index(b"\n", at)
        record = json.loads(out[at:end])
        at = end + 1 + record["bytes"]
        yield record, out[end + 1:at]


def reference_verdict(reference, data):
    try:
        return None, {name: [t["dtype"], t["shape"]] for name, t in reference.deserialize(data)}
    except Exception as e:
        return str(e), None


# serialize() takes a framework's names of dtypes, deserialize() gives the format's. 4 and 6 bits have none that fits.
FRAMEWORK_NAMES = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn",
                   "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
                   "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16", "I32": "int32",
                   "U32": "uint32", "F32": "float32", "C64": "complex64", "F64": "float64", "I64": "int64", "U64": "uint64"}


def written_again(reference, data):
    """The bytes that the reference writes for the same content; None when it cannot name a dtype."""
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    tensors, buffers = {}, []
    for name, t in reference.deserialize(data):
        if t["dtype"] not in FRAMEWORK_NAMES:
            return None
        content = bytes(t["data"])
        buffers.append(ctypes.create_string_buffer(content, max(len(content), 1)))  # must outlive serialize()
        tensors[name] = reference.TensorSpec(dtype=FRAMEWORK_NAMES[t["dtype"]], shape=t["shape"],
                                             data_ptr=ctypes.addressof(buffers[-1]), data_len=len(content))
    return bytes(reference.serialize(tensors, header.get("__metadata__")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--mutants", type=int, default=10000)
    parser.add_argument("--packages")
    args = parser.parse_args()
    reference = import_reference(args.packages)
    if reference is None:
        print("the safetensors package cannot be had here: skipped")
        sys.exit(77)

    counts, stricter, problems = collections.Counter(), collections.Counter(), []
    for record, data in files(args.program, args.mutants):
        error, tensors = reference_verdict(reference, data)
        where = f"{record['kind']}: {data[:300]!r}"
        if record["error"] is None and error is not None:
            problems.append(f"phlox accepts, the reference does not ({error}): {where}")
        elif record["error"] is not None and error is None:
            reason = next((r for r, text in STRICTER.items() if re.search(text, record["error"])), None)
            stricter[reason] += 1
            if reason is None:
                problems.append(f"phlox refuses ({record['error']}), the reference does not: {where}")
        elif error is None:
            counts["accepted by both"] += 1
            if tensors != record["tensors"]:
                problems.append(f"different tensors: {record['tensors']} and {tensors}: {where}")
            again = written_again(reference, data) if record["kind"] == "written" else None
            if again is not None:
                counts["written"] += 1
                if again != data:
                    problems.append(f"the reference writes other bytes, {again[:300]!r}: {where}")
        else:
            counts["refused by both"] += 1
    for text in problems[:20]:
        print(text)
    print(f"safetensors {reference.__version__}: {dict(counts)}; phlox alone refuses: {dict(stricter)}; "
          f"{len(problems)} disagreements")
    sys.exit(1 if problems or counts["accepted by both"] < 200 or counts["written"] < 100 else 0)


if __name__ == "__main__":
    main()
