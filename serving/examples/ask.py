"""Ask a served model about an image: ``python -m serving.examples.ask URL IMAGE QUESTION``.

The key, if the guard wants one, is read from ``OPENAI_API_KEY``.
"""

from __future__ import annotations

import base64
import mimetypes
import os
import sys
from pathlib import Path

from openai import APIStatusError, OpenAI


def ask(url: str, image: Path, question: str) -> str:
    """The answer, or why the guard gave none.

    Args:
        url: up to and with ``/v1``.
    """
    client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    kind = mimetypes.guess_type(image)[0] or "image/png"
    data = f"data:{kind};base64,{base64.b64encode(image.read_bytes()).decode()}"
    try:
        reply = client.chat.completions.create(
            model=client.models.list().data[0].id,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": data}},
                        {"type": "text", "text": question},
                    ],
                }
            ],
            max_tokens=32,
            temperature=0,
        )
    except APIStatusError as error:
        return f"refused: {error.message}"
    return reply.choices[0].message.content or ""


if __name__ == "__main__":
    print(ask(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
