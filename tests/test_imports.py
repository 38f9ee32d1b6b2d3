"""The gateway starts without an engine and without torch."""

import subprocess
import sys


def test_the_commands_load_neither_vllm_nor_torch() -> None:
    program = (
        "import sys, gateway.cli, gateway.composition\n"
        "gateway.cli._parser()\n"
        "found = {'vllm', 'torch', 'transformers', 'openai', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
