"""Writes the ids of hostile.json anew, for the texts that it lists.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.2
    venv/bin/python test/tokenizers/make_hostile.py

CLIP is assembled as transformers' CLIPConverter (convert_slow_tokenizer.py) does, T5 is its
tokenizer.json as it is. To add a text, add a row with nothing but "text" and run this. With
--check the file stays as it is, and the exit code is 1 if another would be written.
"""

import json
import sys
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import RobertaProcessing

here = Path(__file__).parent
model = here / "../../fixtures/sd35-tiny"
words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip(folder: str) -> Tokenizer:
    config = json.loads((model / folder / "tokenizer_config.json").read_text("utf-8"))
    vocab = json.loads((model / folder / "vocab.json").read_text("utf-8"))
    lines = (model / folder / "merges.txt").read_text("utf-8").split("\n")[1:]
    merges = [tuple(line.split()) for line in lines if line.strip()]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token=config["unk_token"],
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bos, eos = config["bos_token"], config["eos_token"]
    tokenizer.post_processor = RobertaProcessing(
        (eos, vocab[eos]), (bos, vocab[bos]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(token.pop("content"), **token)
            for token in config["added_tokens_decoder"].values()
        ]
    )
    return tokenizer


encoders = {
    "clip_l": clip("tokenizer"),
    "clip_g": clip("tokenizer_2"),
    "t5": Tokenizer.from_file(str(model / "tokenizer_3/tokenizer.json")),
}
for encoder in encoders.values():
    encoder.no_padding()
    encoder.no_truncation()

path = here / "hostile.json"
old = json.loads(path.read_text("utf-8"))
new = {
    "source": f"Python package tokenizers {tokenizers.__version__}: tokenizer_3/tokenizer.json as it "
    "is; CLIP assembled as transformers' CLIPConverter does",
    "rows": [
        {"text": row["text"]}
        | {name: encoder.encode(row["text"]).ids for name, encoder in encoders.items()}
        for row in old["rows"]
    ],
}
differing = [row["text"] for row, was in zip(new["rows"], old["rows"]) if row != was]
print(f"{len(new['rows'])} texts, {len(differing)} with other ids than before {differing[:5]}")
if "--check" in sys.argv:
    sys.exit(new != old)
path.write_text(json.dumps(new) + "\n", "utf-8")
