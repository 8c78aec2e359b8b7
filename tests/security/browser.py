"""A headless Chromium that knows no other machine: every name leads to loopback, as after DNS rebinding."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * 127.0.0.1",
)  # fmt: skip


@asynccontextmanager
async def browsing(url: str, folder: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The page is open inside, and the browser gone afterwards."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *OPTIONS, *options, f"--user-data-dir={folder / 'profile'}", url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def shown(url: str, folder: Path) -> str:
    """What a person sees who opens this address."""
    async with asyncio.timeout(60), browsing(url, folder, "--dump-dom") as process:
        assert process.stdout is not None
        return (await process.stdout.read()).decode()
