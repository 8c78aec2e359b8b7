"""A process that appends to a journal until it is killed, and prints what was acknowledged: argv path, seed."""

import asyncio
import os
import random
import sys
from pathlib import Path

from storage_entries import sample, signal

from storage.journal import Journal


async def append_groups(journal: Journal, dice: random.Random, name: str) -> None:
    number = 0
    while True:
        size = dice.choice((1, 1, 1, 2, 5))
        ids = [f"{name}-{number}-{index}-{size}" for index in range(size)]
        number += 1
        await journal.append(*(signal(signal_id, at_ms=number) for signal_id in ids))
        os.write(1, (" ".join(ids) + "\n").encode())  # Unbuffered: what was printed was acknowledged.
        for _ in range(dice.randrange(4)):
            journal.note(sample(number))
        await asyncio.sleep(dice.random() * 0.004)


async def main(path: Path, seed: int) -> None:
    journal = Journal.open(path)
    dice = random.Random(seed)  # noqa: S311 - a story, not a secret
    await asyncio.gather(*(append_groups(journal, dice, f"{seed}.{os.getpid()}.{worker}") for worker in range(3)))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
