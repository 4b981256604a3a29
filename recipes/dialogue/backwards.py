"""Write dialogues from their last turn to their first, so that a model learns what an answer may be an answer to.

python backwards.py < dialogues.jsonl > backwards.jsonl
"""

import json
import sys


def backwards(line: str) -> str:
    """A dialogue as a line of JSON, the other way round."""
    record = json.loads(line)
    for name in ("turns", "speakers"):
        if name in record:
            record[name] = record[name][::-1]
    return json.dumps(record, ensure_ascii=False)


if __name__ == "__main__":
    for text in sys.stdin:
        print(backwards(text))
