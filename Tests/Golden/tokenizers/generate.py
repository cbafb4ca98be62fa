#!/usr/bin/env python3
"""Writes the token ids that TokenizerTests compares with.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3 protobuf jinja2
    venv/bin/python generate.py                    # ids of the committed strings and vocabularies
    venv/bin/python generate.py --train            # vocabularies too, from the text of this machine
    venv/bin/python generate.py --fuzz 5000 --seed 1 --out /tmp/fuzz      # random strings
    venv/bin/python generate.py --scalars --out /tmp/scalars              # every Unicode scalar

With --out nothing of this folder changes; SLIPSTREAM_TOKENIZER_GOLDEN=/tmp/fuzz makes the tests
compare with that folder instead. A string that ever failed belongs into REGRESSIONS.

The ids come from the public packages: `tokenizers` with the regular expressions as they were
published with the models, and `sentencepiece`; the rendered conversations from `jinja2`, with
templates that say what the published ones say.
"""

import argparse
import glob
import json
import os
import random
import sys
import sysconfig
import tempfile
import unicodedata

import jinja2
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

# Regular expressions -------------------------------------------------------------------------

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PREFIX = r"[^\r\n\p{L}\p{N}]?"
CASED = rf"{PREFIX}{UPPER}*{LOWER}+%s|{PREFIX}{UPPER}+{LOWER}*%s"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|{PREFIX}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{SPACES}"
QWEN2 = rf"{CONTRACTIONS}|{PREFIX}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{SPACES}"
QWEN35 = (
    rf"{CONTRACTIONS}|{PREFIX}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{SPACES}"
)
SEED_CODER = rf"{CONTRACTIONS}|{PREFIX}\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+{SPACES}"
TEKKEN = CASED % ("", "") + rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{SPACES}"
O200K = (
    CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?")
    + rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{SPACES}"
)
DEEPSEEK_LETTERS = (
    "["
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-"
    "\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-"
    "\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15"
    "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d"
    "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183"
    "\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-"
    "\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"
    "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+"
)
DEEPSEEK_SIGNS = "[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
IDEOGRAPHS = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*" + SPACES
)
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"

REGEXES = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "dbrx": [LLAMA3],
    "qwen2": [QWEN2],
    "qwen35": [QWEN35],
    "seed-coder": [SEED_CODER],
    "tekken": [TEKKEN],
    "gpt-4o": [O200K],
    "deepseek-llm": [
        r"[\r\n]", rf"\s?{DEEPSEEK_LETTERS}", rf"\s?{DEEPSEEK_SIGNS}", r"\s+$", IDEOGRAPHS,
        r"\p{N}+",
    ],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", IDEOGRAPHS, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_V3],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
}
WHOLE_WORDS = {"llama-bpe", "tekken"}

# Strings -------------------------------------------------------------------------------------

LANGUAGES = [
    "The quick brown fox jumps over the lazy dog; it's what we'd call a pangram, isn't it?",
    "Größere Straßen führen über die Brücke, aber niemand weiß wohin.",
    "L'été dernier, où étiez-vous allés? À la plage, peut-être; ça m'a plu.",
    "El niño comió piñas y jalapeños mañana por la mañana. ¿Qué pasó? ¡Nada!",
    "Быстрая коричневая лиса перепрыгивает через ленивую собаку. Съешь ещё этих булок.",
    "Η γρήγορη καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.",
    "敏捷的棕色狐狸跳过了懒狗。我想在这里工作,你呢?数字是一二三。",
    "素早い茶色の狐はのろまな犬を飛び越える。カタカナとひらがな、漢字も。",
    "다람쥐 헌 쳇바퀴에 타고파. 한국어 문장입니다.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول، أليس كذلك؟ ١٢٣",
    "השועל החום המהיר קופץ מעל הכלב העצלן. שָׁלוֹם",
    "तेज भूरी लोमड़ी आलसी कुत्ते पर कूदती है। १२३",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ ๑๒๓",
    "দ্রুত বাদামী শিয়াল অলস কুকুরের উপর লাফ দেয়। তুমি কি জানো?",
    "Con cáo nâu nhanh nhẹn nhảy qua con chó lười biếng.",
    "Pchnąć w tę łódź jeża lub ośm skrzyń fig. Zażółć gęślą jaźń.",
    "İstanbul'da ışıklar söndü; Iğdır'a gidelim mi?",
    "ქართული ენა ძალიან ლამაზია. ᲥᲐᲠᲗᲣᲚᲘ",
    "Հայերեն լեզու և ՀԱՅԵՐԵՆ.",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 ❤️ 😀😁🤣 ©®™ → ∑∫√ €£¥₿",
]

CODE = [
    "def f(x):\n    return x**2 + 3*x - 1  # done\n",
    "for (int i = 0; i < 10; ++i) { a[i] = b[i] << 2 | 0xFF; }",
    "let x = \"a\\tb\\n\"; // comment\r\n\tvar y = x ?? nil\r\n",
    "<html>\n  <body class=\"x-y_z\">&nbsp;</body>\n</html>\n\n\n",
    "SELECT * FROM t WHERE a>=1 AND b!='x' OR c IS NULL;",
    "#!/bin/bash\nset -euo pipefail\necho \"${HOME}/bin\" | sed 's/a/b/g' >> /dev/null",
    "CamelCaseWord HTTPServer XMLHttpRequest iPhone macOS aB Ab AB aBC ABc",
    "snake_case __init__ kebab-case UPPER_CASE $dollar @at #hash",
    "https://example.org/path?x=1&y=2#frag user@example.org 192.168.0.1:8080",
    "{\"key\": [1, 2.5, -3e10, true, null], \"k2\": \"v\\u00e9\"}",
    "\\documentclass{article} $\\frac{a}{b}$ \\begin{x}\\end{x}",
    "if(a&&b||!c){x+=1;y-=1;z*=2;}//;\n/* ... */\n\n//\n/\n",
]

SMALL = [
    "", " ", "  ", "   ", "    ", "     ", " a", "a ", "  a", "a  ", "   a b", "a   b", "\t", "\n",
    "\n\n", "\r\n", "\r", "\r\n\r\n", " \n", "\n ", " \n ", "\n \n", "a\nb", "a \nb", "a\n b",
    "a\n\n  b", "\t\ta", "\ta\t", "a\tb", "a \t b", "\u000b", "\u000c", "a\u000bb", "\u0085",
    "a\u0085b", "\u00a0", "a\u00a0b", "\u00a0a", "\u3000", "\u3000a", "a\u3000", "\u3000\u3000a",
    "a\u3000\u3000。b", "\u2028", "a\u2028b", "\u2029 x", "\u200b", "a\u200bb", "\ufeffa", "\u2003é",
    "\u200da", "\u00ada", "\u0000", "a\u0000b", "\u007f", "\u0001\u0002x", "\u001c", "a\u001fb",
    "0", "1", "12", "123", "1234", "12345", "123456", "1234567", "1234567890", " 1", " 12", " 123",
    " 1234", "  1", "  12345", "a1", "1a", "a1b2", "a 1", "1 2 3", "1.5", "-1", "1,234,567.89",
    "½", "Ⅷ", "²", "x²", "①②③④", "٣٤٥٦", "१२३४", "𝟘𝟙𝟚𝟛", "1½2", "3.14159", "0x1F", "1e-5", "v2.0",
    "'", "''", "'s", "'S", "'t", "'re", "'RE", "'rE", "'ve", "'m", "'ll", "'LL", "'lL", "'d", "'x",
    "it's", "IT'S", "it'S", "we'll", "WE'LL", "they're", "I'm", "I'M", "you've", "he'd", "don't",
    "'squad", "a's b", "'s's", "a''s", "1's", "!'s", "é's", "中's", "it’s", "'\u017f", "it'\u017fx",
    "x'lll", "rock'n'roll", "O'Neil", "'tis", "a'", "a' b", "ab'c", "'12", "' s",
    ".", "..", "...", "....", "!?", "a.b", "a. b", " .", " ...", ".a", "(a)", "[a]", "{a}", "((a))",
    "_a", "__a", "a_b", "-a", "--a", "#a", "@a", "$a", "~a", "`a`", "^a", "|a|", "<a>", "=a", "+a",
    "/a", "//a", "\\a", "a/b", ";\n", ";\n\n", ";\r\n/", "//\n/x", "!\n\n!", " !\n", "a!\n b",
    "\"a\"", "“a”", "‘a’", "—a", "…a", "…", "、", "。", "，", "！a", "~～", "a、b，c。", "।", "a। b",
    "€5", "5€", "+5", "±5", "a+b", "∑x", "→", "a→b", "💩a", "a💩", "★ ☆", "\u20ac\u0301",
    "A", "AB", "ABC", "Ab", "aB", "AbC", "ABc", "aBC", "ABCdef", "abcDEF", "AAaaAAaa", "ǅabc",
    "ʰA", "Aʰ", "AʰB", "中A", "A中", "中Ab", "A中B", "AB中CD", "ßẞ", "ΑΒγδ", "АБвг", "ªº", "ﬁﬂ",
    "e\u0301", "E\u0301A", "a\u0301\u0302", "\u0301", "\u0301a", "\u0301A", "\u0301AB", " \u0301",
    " \u0301a", "!\u0301a", "!\u0301", "\u0301\u0301", "1\u0301", "1\u0301a", "a\u0301B", "\u0301\n",
    "\n\u0301", "क्षि", "ก็", "שָׁלוֹם", "مُحَمَّد", "가각", "가각", "が", "が", "ｶﾞ",
    "👨‍👩‍👧", "🇩🇪", "👍🏽", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "☺\ufe0f\ufe0e", "\u200f\u202eabc\u202c",
    "<s>", "</s>", "<unk>", "<|im_start|>", "<|endoftext|>", "<0x41>", "<0x0A>", "[INST]", "▁", "▁a",
    "a▁b", "▁▁", " ▁ ", "Ġa", "Ċ", "\ufffd", "\ufffda", "\ue000", "\U0010fffd", "\U000e0041",
    "<tool>", "a<tool>b", "<tool> x", " <tool>", "<tool><tool>", "<tool>\n<tool", "<to", "x<br>y",
    "ȺȾ", "𐐀𐐨", "𝒜𝓫", "𠀀𠀁", "ꙮ", "ꟊꟋ", "ℵ", "ℜ", "K\u212a", "ſt", "ŉ", "ı", "İ", "i̇",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    " " * 40 + "x", "\n" * 37, "\t" * 17 + "y", "=" * 60, "-" * 33 + "\n", "ab" * 30, "é" * 25,
    "one of the many", "of the of  the", "x is not None", "y = _x", "f('a', 'b', *c)", "= '", "of thes",
    "!" * 20 + "\n" * 3 + "/" * 5, "9" * 25, " 9" * 6, "A" * 12 + "b", "aA" * 8, "\u0301" * 9 + "Z",
]

# Strings on which some version of the program and the packages disagreed.
REGRESSIONS = []

POOL = (
    list("abcstdlrevmxyzABCSTDLREVM") * 2
    + list("0123456789'''    \n\n\r\t__--..,,!?:;/\\(){}[]<>=+*&^%$#@~`|\"")
    + ["  ", "   ", "\r\n", "'s", "'ll", "'RE", "the ", " in", "ing", "return ", " self", " of the", " = "]
    + ["<tool>"]
    + list("éßñüøåÉÜøπΣωДжяЖІїאבשعمرहिंकกำ中国日本語ひらカタ한국어ªºʰǅ")
    + ["\u0301", "\u0308", "\u0327", "\u20dd", "\u200d", "\u200b", "\ufe0f", "\u00ad", "\u00a0"]
    + ["\u3000", "\u2003", "\u2028", "\u0085", "\u000b", "\u017f", "\u0000", "\u001e", "\u007f"]
    + list("½²Ⅷ٣१๑①") + list("。、，！？…“”‘’—«»¿¡।۔،～：")
    + list("€£∑→★™©") + ["🙂", "👩", "🏽", "🇩", "🇪", "𝒜", "𠀀", "𐐀", "\ue000", "\ufffd", "▁", "Ġ"]
)


def random_strings(count, seed):
    rng = random.Random(seed)
    strings = []
    for _ in range(count):
        pool = POOL if rng.random() < 0.6 else rng.sample(POOL, rng.randint(2, 6))
        strings.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 24))))
    return strings


def scalar_strings():
    """Every assigned scalar in the neighbourhoods that the rules look at."""
    strings = []
    for value in range(0x110000):
        character = chr(value)
        if unicodedata.category(character) in ("Cs", "Cn", "Co") and value != 0xE000:
            continue
        strings.append(f"a{character}b {character}1{character} {character}{character}A'{character}")
    return strings


# Vocabularies --------------------------------------------------------------------------------

def training_text():
    lines = []
    library = sysconfig.get_paths()["stdlib"]
    for name in ("argparse", "ast", "datetime", "json/decoder", "random", "statistics", "textwrap"):
        with open(f"{library}/{name}.py", encoding="utf-8") as file:
            lines += file.read().split("\n")
    for name in sorted(glob.glob(f"{HERE}/../../../docs/*.md")):
        with open(name, encoding="utf-8") as file:
            lines += file.read().split("\n")
    return lines + (LANGUAGES + CODE) * 12


def train_byte_level():
    """One vocabulary for all rules. Its merges reach across words, so that each rule shows."""
    text = training_text()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        max_token_length=12)
    joined = ["\n".join(text[index:index + 4]) for index in range(0, len(text), 4)]
    tokenizer.train_from_iterator(joined, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) for pair in model["merges"]]
    # Whole words that no merge leads to.
    extra = ["Ġunreachable", "ABCdef", "Ġpangram", "Größere", "...", "123", "Ġwhole", "'re", "CamelC"]
    encoded = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    extra = [encoded.pre_tokenize_str(word.replace("Ġ", " "))[0][0] for word in extra]
    tokens += [word for word in extra if word not in model["vocab"]]
    return {"tokens": tokens, "merges": merges}


def train_piece_model(**options):
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(line for line in training_text() if line),
            model_prefix=f"{folder}/m", model_type="bpe", normalization_rule_name="identity",
            remove_extra_whitespaces=False, max_sentence_length=100000, num_threads=1,
            minloglevel=2, **options)
        model = sentencepiece_model_pb2.ModelProto()
        with open(f"{folder}/m.model", "rb") as file:
            model.ParseFromString(file.read())
    return model


def train_pieces(name):
    llama = dict(
        vocab_size=1500, byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True,
        character_coverage=0.9985, user_defined_symbols=["<tool>"])
    if name == "llama":
        return train_piece_model(**llama)
    if name == "gemma":
        runs = ["\n" * count for count in range(1, 32)] + ["▁" * count for count in range(2, 32)]
        return train_piece_model(**{
            **llama, "add_dummy_prefix": False, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
            "user_defined_symbols": runs + ["\t", "<br>", "<tool>", "<tool><tool>"],
            "control_symbols": ["<start_of_turn>", "<end_of_turn>"]})
    if name == "unknown":
        return train_piece_model(**{**llama, "byte_fallback": False, "vocab_size": 900})
    if name == "phrases":
        return train_piece_model(**{**llama, "split_by_whitespace": False, "vocab_size": 1200})
    # Unused pieces, pieces of characters that are none, and equal scores.
    model = train_piece_model(**{**llama, "vocab_size": 1200})
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    normal = [piece for piece in model.pieces if piece.type == kinds.NORMAL]
    for index, piece in enumerate(normal):
        if len(piece.piece) > 1 and index % 7 == 0:
            piece.type = kinds.UNUSED
        if len(piece.piece) > 1:
            piece.score = float(round(piece.score / 25))
    for piece in list(model.pieces):
        if piece.type == kinds.NORMAL and piece.piece in ("q", "é", "中", "ж"):
            model.pieces.remove(piece)
    return model


PIECE_MODELS = ["llama", "gemma", "unknown", "phrases", "unused"]


def vocabulary_of(model):
    return {
        "tokens": [piece.piece for piece in model.pieces],
        "types": [piece.type for piece in model.pieces],
        "scores": [piece.score for piece in model.pieces],
        "addSpacePrefix": model.normalizer_spec.add_dummy_prefix,
        "unknown": model.trainer_spec.unk_id,
        "byteFallback": model.trainer_spec.byte_fallback,
    }


def processor_of(vocabulary):
    model = sentencepiece_model_pb2.ModelProto()
    for text, kind, score in zip(
            vocabulary["tokens"], vocabulary["types"], vocabulary["scores"], strict=True):
        model.pieces.add(piece=text, type=kind, score=score)
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = vocabulary["byteFallback"]
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = vocabulary["addSpacePrefix"]
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


# Chat templates ------------------------------------------------------------------------------

TURNS = (
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHAT_TEMPLATES = {
    "ChatML": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "Llama 2": (
        "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}"
        "{% set messages = messages[1:] %}{% else %}{% set system_message = false %}{% endif %}"
        + TURNS +
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}"
        "{% endif %}{% endfor %}"
    ),
    "Llama 3": LLAMA3,
    "Gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{% set first_user_prefix = messages[0]['content'] + '\n\n' %}"
        "{% set messages = messages[1:] %}"
        "{% else %}{% set first_user_prefix = '' %}{% endif %}" + TURNS +
        "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else '') }}"
        "{{ message['content'] | trim }}{{ '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "Phi-3": (
        "{% for message in messages %}"
        "{{ '<|' + message['role'] + '|>' + '\n' + message['content'] + '<|end|>' + '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' + '\n' }}{% endif %}"
    ),
    "Zephyr": (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
        "{{ '<|user|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'system' %}\n"
        "{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
        "{% endfor %}"
    ),
}

CONVERSATIONS = [
    [("user", "Hi")],
    [("user", " a\n\nb ")],
    [("system", "Be brief."), ("user", "Why?")],
    [("user", "1"), ("assistant", " 2 "), ("user", "3")],
    [("system", " s "), ("user", "1"), ("assistant", "2\n"), ("user", "<|eot_id|></s>[/INST]")],
]


def chat_cases():
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    cases = []
    for name, template in CHAT_TEMPLATES.items():
        compiled = environment.from_string(template)
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            text = compiled.render(
                messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
            cases.append({
                "format": name, "template": template, "messages": messages,
                "text": text.removeprefix("<s>")})
    return cases


# Output --------------------------------------------------------------------------------------

def write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")


def read(name):
    with open(f"{HERE}/{name}", encoding="utf-8") as file:
        return json.load(file)


def byte_level_cases(vocabulary, pre, strings):
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(regex), "isolated") for regex in REGEXES[pre]]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    merges = [tuple(merge.split(" ")) for merge in vocabulary["merges"]]
    numbers = {token: index for index, token in enumerate(vocabulary["tokens"])}
    tokenizer = Tokenizer(models.BPE(numbers, merges, ignore_merges=pre in WHOLE_WORDS))
    tokenizer.pre_tokenizer = split
    # A word is as many bytes long as it has characters of the byte alphabet.
    lengths = [[len(word) for word, _ in split.pre_tokenize_str(text)] for text in strings]
    ids = [encoding.ids for encoding in tokenizer.encode_batch(strings)]
    return {"pre": pre, "lengths": lengths, "ids": ids}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--fuzz", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scalars", action="store_true")
    parser.add_argument("--out", default=HERE)
    options = parser.parse_args()
    if (options.fuzz or options.scalars) and options.out == HERE:
        sys.exit("random strings and scalars need --out")
    if options.train:
        write(f"{HERE}/byte-level.vocabulary.json", train_byte_level())
        for name in PIECE_MODELS:
            write(f"{HERE}/{name}.vocabulary.json", vocabulary_of(train_pieces(name)))

    if options.fuzz:
        strings = random_strings(options.fuzz, options.seed)
    elif options.scalars:
        strings = scalar_strings()
    else:
        strings = SMALL + CODE + LANGUAGES + random_strings(60, 0) + REGRESSIONS
        strings = list(dict.fromkeys(strings))
    os.makedirs(options.out, exist_ok=True)
    write(f"{options.out}/strings.json", strings)
    write(f"{options.out}/chat.json", chat_cases())
    vocabulary = read("byte-level.vocabulary.json")
    for pre in REGEXES:
        write(f"{options.out}/{pre}.json", byte_level_cases(vocabulary, pre, strings))
    for name in PIECE_MODELS:
        processor = processor_of(read(f"{name}.vocabulary.json"))
        ids = [processor.encode(text) for text in strings]
        texts = [processor.decode(tokens) for tokens in ids]
        texts = [None if a == b else b for a, b in zip(strings, texts, strict=True)]
        write(f"{options.out}/{name}.json", {"ids": ids, "texts": texts})


if __name__ == "__main__":
    main()
