#!/usr/bin/env python3
"""What llama.cpp makes of chats with its built-in templates.

    python tests/python/chat_templates.py tests/fixtures/chat_templates.json

needs the package llama-cpp-python.
"""

import ctypes
import json
import sys

import llama_cpp

NAMES = ["chatml", "llama2-sys", "llama3", "mistral-v1", "mistral-v3", "mistral-v3-tekken", "mistral-v7", "gemma", "phi3",
         "phi4", "falcon3", "command-r", "granite", "vicuna", "openchat", "deepseek3", "exaone3"]
CHATS = [
    [("user", "Hello")],
    [("system", "Be brief."), ("user", " Hello ")],
    [("user", "One"), ("assistant", " two "), ("user", "three\n")],
    [("system", "  Be kind.\n"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")],
]


def render(name, chat):
    messages = (llama_cpp.llama_chat_message * len(chat))(
        *[llama_cpp.llama_chat_message(role=role.encode(), content=content.encode()) for role, content in chat])
    out = ctypes.create_string_buffer(4096)
    count = llama_cpp.llama_chat_apply_template(name.encode(), messages, len(chat), True, out, len(out))
    assert 0 <= count < len(out), (name, count)
    return out.raw[:count].decode()


def main():
    chats = [[{"role": role, "content": content} for role, content in chat] for chat in CHATS]
    prompts = {name: [render(name, chat) for chat in CHATS] for name in NAMES}
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({"chats": chats, "prompts": prompts}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
