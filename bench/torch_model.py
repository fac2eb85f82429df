"""The GPT-2 that bench/table.mjs and bench/gpu.mjs compare with, in PyTorch; `job`: its shape, whether LoRA is attached, the learning rate."""
import torch
from transformers import GPT2Config, GPT2LMHeadModel


def training(job, device="cpu"):
    """A function that does one step and gives its loss, on token ids that are the same each time."""
    shape = job["shape"]
    config = GPT2Config(
        vocab_size=shape["vocabulary"], n_positions=shape["sequence"], n_embd=shape["width"], n_layer=shape["layers"],
        n_head=shape["heads"], resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, tie_word_embeddings=False, use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    if job["lora"]:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True))
    model = model.to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=job["rate"], weight_decay=0.01)
    count = shape["batch"] * shape["sequence"]
    ids = torch.tensor([(i * 7919 + (i * i % 101) * 31) % shape["vocabulary"] for i in range(count)])
    ids = ids.reshape(shape["batch"], -1).to(device)

    def step():
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
