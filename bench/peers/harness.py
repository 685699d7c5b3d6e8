"""The contender's side of a benchmark in Python: see bench/harness.h."""
import sys
import time


def per_call(f, seconds=0.05):
    """Seconds that one call of f takes: the median of some batches; the first calls, half as long, are not timed."""
    start = time.perf_counter()
    n = 0
    while True:
        f()
        n += 1
        if time.perf_counter() - start >= seconds / 2:
            break
    batches = 9
    calls = max(1, int(seconds / batches / ((time.perf_counter() - start) / n)))
    times = []
    for _ in range(batches):
        start = time.perf_counter()
        for _ in range(calls):
            f()
        times.append((time.perf_counter() - start) / calls)
    return sorted(times)[batches // 2]


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
