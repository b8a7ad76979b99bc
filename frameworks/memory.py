"""How frameworks and libraries say that memory ran out, of the host or of a device."""

OUT_OF_MEMORY_MARKS = (
    "out of memory", "out_of_memory", "resource_exhausted", "resource exhausted", "resourceexhausted",
    "oom when allocating", "can't allocate memory", "cannot allocate memory", "not enough memory", "failed to allocate",
    "bad_alloc", "memoryerror", "status_alloc_failed",
)  # fmt: skip


def tells_of_memory(text: str) -> bool:
    """Whether a message of a framework or of Python says that memory ran out."""
    return any(mark in text.lower() for mark in OUT_OF_MEMORY_MARKS)
