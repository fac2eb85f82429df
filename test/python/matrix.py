"""Loads folders that peftc wrote, with transformers and peft, and says how far their logits are from those of the golden vectors.

usage: matrix.py JOBS.json   JOBS: a list of {"name", "class", "folder", "base"?, "origin"?, "io"}; prints a line of JSON for each: {"name", "difference"}, {"name", "error"}, or
{"name", "theirs"} where the folder that PEFT itself wrote ends in the same error.
"""

import json
import sys
import warnings

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)


def given(io):
    out = {}
    for key, value in io.items():
        if not key.startswith("in."):
            continue
        name = key[3:]
        out[name] = value.float() if value.is_floating_point() else value.long()
    return out


def logits_of(out):
    for name in ("logits", "start_logits", "logits_per_text"):
        if getattr(out, name, None) is not None:
            return name, getattr(out, name)
    raise ValueError("no logits")


def run(job, folder):
    cls = getattr(transformers, job["class"])
    # grouped products of experts want sizes that tiny models have not
    model = cls.from_pretrained(job.get("base", job["folder"]), attn_implementation="eager", experts_implementation="eager", dtype=torch.float32)
    if "base" in job:
        model = PeftModel.from_pretrained(model, folder)
    model = model.eval()
    io = load_file(job["io"])
    args = given(io)
    with torch.no_grad():
        name, seen = logits_of(model(**args))
    wanted = io["out." + name]
    if seen.shape != wanted.shape:
        raise ValueError(f"{name} is {list(seen.shape)} instead of {list(wanted.shape)}")
    keep = torch.ones(wanted.shape[:2] if wanted.ndim == 3 else wanted.shape, dtype=torch.bool)
    mask = args.get("attention_mask")
    # filled places hang on the attention kernel; virtual tokens stand in front of the text
    if mask is not None and wanted.ndim == 3 and "decoder_input_ids" not in args and mask.shape[1] <= wanted.shape[1]:
        keep[:, wanted.shape[1] - mask.shape[1] :] = mask.bool()
    gap = (seen - wanted).abs()[keep].max() / wanted.abs()[keep].max()
    return float(gap)


def attempt(job, folder):
    try:
        return {"difference": run(job, folder)}
    except Exception as error:  # each job says for itself why it cannot
        return {"error": f"{type(error).__name__}: {error}"[:600]}


for job in json.load(open(sys.argv[1])):
    found = attempt(job, job["folder"])
    # what these versions do not read of each other's either is not ours
    if "error" in found and "origin" in job and attempt(job, job["origin"]) == found:
        found = {"theirs": found["error"]}
    print(json.dumps({"name": job["name"], **found}), flush=True)
