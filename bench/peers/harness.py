"""The contender's side of a benchmark in Python: see bench/harness.h."""
import sys
import time


def per_call(f, seconds=0.04):
    """Seconds that one call of f takes, over a round of about `seconds`; the first calls are not timed."""
    start = time.perf_counter()
    n = 0
    while True:
        f()
        n += 1
        if time.perf_counter() - start >= seconds / 4:
            break
    calls = max(1, int(seconds / ((time.perf_counter() - start) / n)))
    start = time.perf_counter()
    for _ in range(calls):
        f()
    return (time.perf_counter() - start) / calls


def serve(prepare):
    """`prepare` gives the rounds of a line as a function, or None for a line that it does not know."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries may print
    round_ = None
    for message in sys.stdin:
        message = message.strip()
        try:
            if message.startswith("prepare "):
                round_ = None
                round_ = prepare(message[len("prepare "):])
                answer = "ready" if round_ else "refused there is no such line"
            else:
                answer = "%.9g" % round_()
        except Exception as e:  # the driver reports it
            answer = "refused " + " ".join(str(e).split())
        print(answer, file=answers, flush=True)
