#!/usr/bin/env python3
"""cookbook_test.py FOLDER [sql] [pandas] [polars]

Runs the blocks of cookbook.md, which stands beside it, in FOLDER, where `twtrace demo -o out` made a dataset, and holds each
answer against the one in the document: the rows as CSV, in order. Default are all three languages. With --write the answers of
the first language named are written into the document instead; read what changes."""
import csv, datetime, io, os, re, sys

doc = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cookbook.md")
write = "--write" in sys.argv
folder, *languages = [a for a in sys.argv[1:] if a != "--write"]
languages = languages or ["sql", "pandas", "polars"]
text = open(doc, encoding="utf8").read()
os.chdir(folder)


def cell(v):
    """One value as every library should give it."""
    if v is None or v != v:  # NaN, NaT
        return ""
    if isinstance(v, bool):
        return str(v).lower()
    if hasattr(v, "item"):
        v = v.item()
    if isinstance(v, float):
        return str(int(v)) if v == int(v) else repr(v)
    if isinstance(v, datetime.datetime):
        return v.isoformat()
    return str(v)


def as_csv(columns, rows):
    out = io.StringIO()
    w = csv.writer(out, lineterminator="\n")
    w.writerow(columns)
    w.writerows([cell(v) for v in row] for row in rows)
    return out.getvalue()


def run_sql(code, _):
    import duckdb
    c = duckdb.connect()
    c.execute("set timezone = 'UTC'")
    r = c.execute(code)
    return as_csv([d[0] for d in r.description], r.fetchall())


def run_pandas(code, first):
    scope = {}
    exec(first + "\n" + code, scope)
    a = scope["answer"]
    return as_csv(a.columns, a.itertuples(index=False, name=None))


def run_polars(code, first):
    scope = {}
    exec(first + "\n" + code, scope)
    a = scope["answer"]
    return as_csv(a.columns, a.rows())


run = {"sql": run_sql, "pandas": run_pandas, "polars": run_polars}
head, *questions = re.split(r"(?m)^(?=## \d+\. )", text)


def blocks(part):
    """The code of each language in a part of the document, and the answer."""
    found = {}
    for kind, code in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", part):
        name = re.match(r"# (pandas|polars)\n", code)
        found[name[1] if name else kind] = code
    return found


first = blocks(head)
failed = 0
for i, q in enumerate(questions):
    b, title = blocks(q), q.split("\n", 1)[0]
    missing = [k for k in ("sql", "pandas", "polars", "answer") if k not in b]
    if missing:
        failed += 1
        print(f"{title}: no block {', '.join(missing)}")
        continue
    for lang in languages:
        try:
            got = run[lang](b[lang], first.get(lang, ""))
        except Exception as e:
            failed += 1
            print(f"{title}: {lang}: {type(e).__name__}: {e}")
            continue
        if write and lang == languages[0]:
            questions[i] = q.replace("```answer\n" + b["answer"] + "```", "```answer\n" + got + "```")
            b["answer"] = got
        if got != b["answer"]:
            failed += 1
            print(f"{title}: {lang}: want\n{b['answer']}found\n{got}")
        elif got.count("\n") < 2:
            failed += 1
            print(f"{title}: {lang}: no row: nothing was asked")
if write:
    open(doc, "w", encoding="utf8").write(head + "".join(questions))
if len(questions) != 10:
    failed += 1
    print(f"{len(questions)} questions, want 10")
if not failed:
    print(f"cookbook: {len(questions)} questions, {', '.join(languages)}: all answers hold")
sys.exit(failed > 0)
