"""Three steps of DBOS, each recorded in the database that is given. Reads `AT_ONCE RUNS` lines, answers each with the times of the runs in ms
as a JSON list."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS

DBOS(config={"name": "peer", "system_database_url": sys.argv[1], "log_level": "ERROR"})


@DBOS.step()
def step(name, value):
    return {"text": f"{name} {value['text']}"}


@DBOS.workflow()
def chain(value):
    for name in ("one", "two", "three"):
        value = step(name, value)
    return value


def one(_):
    since = time.perf_counter()
    chain({"text": "x"})
    return (time.perf_counter() - since) * 1000


DBOS.launch()
one(0)
print("ready", flush=True)
for line in sys.stdin:
    at_once, runs = map(int, line.split())
    begin = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        took = list(pool.map(one, range(runs)))
    print(json.dumps({"took": took, "all": (time.perf_counter() - begin) * 1000}), flush=True)
DBOS.destroy()
