"""What a gateway would have known of a recorded application when its first call came."""

from dataclasses import dataclass

from gateway.workloads.traces import RecordedApplication


@dataclass(frozen=True, slots=True)
class RecordedFirstCall:
    kind: str
    text: str
    """What was asked: the recording's input, or the last message of the first prompt."""
    prompt_tokens: int


def first_call_of(application: RecordedApplication) -> RecordedFirstCall:
    call = next(call for call in application.calls if not call.after)
    text = application.input_text
    if text is None:
        text = call.append[-1]["content"] if call.append else ""
    return RecordedFirstCall(application.kind, text, call.prompt_tokens)
