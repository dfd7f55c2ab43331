"""Four jobs that make files: an analysis, a training, a report, and a large data set that stays on a disk.

Copy from here. It runs on any database that DataJoint is configured for, with the storage of the nearest
`datajoint.toml`; a table ``[roots.nas]`` there, with the path of a directory, says where large files stay::

    python examples/jobs.py

Each function writes files into the working directory, as a script does; none knows of tables.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import datajoint_file  # makes `file` a type

REGIONS = ["north", "south", "east", "west"]

schema = dj.Schema("demo_jobs")


@schema
class Month(dj.Manual):
    definition = """
    month : int32
    ---
    sales : file             # an array: a row each day, a column each region
    """


def analyse(sales: NDArray[Any]) -> dict[str, float]:
    """Summarise, and plot each region."""
    np.savetxt(
        "sales_summary.csv", [sales.min(0), sales.mean(0), sales.max(0)], delimiter=",", header=",".join(REGIONS)
    )
    Path("plots").mkdir()
    for region, column in zip(REGIONS, sales.T, strict=True):
        bars = np.arange(100)[::-1, None] < 100 * column / sales.max()
        Image.fromarray(bars).save(f"plots/sales_trend_{region}.png")
    Path("insights.txt").write_text(f"Key findings: {REGIONS[sales.sum(0).argmax()]} sells most.\n")
    return {"total_sales": float(sales.sum())}


@schema
class Analysis(dj.Computed):
    definition = """
    -> Month
    ---
    total_sales : float64
    summary     : file
    insights    : file
    """

    class Plot(dj.Part):
        definition = """
        -> master
        name : varchar(60)
        ---
        plot : file
        """

    def make(self, key: dict[str, Any]) -> None:
        sales = (Month & key).fetch1("sales").load()
        with datajoint_file.capture(["sales_summary.csv", "plots/*.png", "insights.txt"]) as run:
            result = analyse(sales)
        self.insert1({**key, **result, "summary": run["sales_summary.csv"], "insights": run["insights.txt"]})
        self.Plot.insert({**key, "name": file.path, "plot": file} for file in run.glob("plots/*.png"))


@datajoint_file.captures(["trained_model.pkl", "training_history.csv", "model_metrics.json"], name="model", log=True)
def train(sales: NDArray[Any]) -> dict[str, float]:
    """Fit a line to each region, and keep the model, how it came about, and how good it is."""
    days = np.arange(len(sales))
    model, residuals, *_ = np.polyfit(days, sales, 1, full=True)
    Path("trained_model.pkl").write_bytes(pickle.dumps(model.tolist()))
    np.savetxt("training_history.csv", residuals, header="residual")
    metrics = {"accuracy": float(1 - residuals.sum() / sales.var(0).sum() / len(sales))}
    Path("model_metrics.json").write_text(json.dumps(metrics))
    print("trained on", len(sales), "days")
    return metrics


@schema
class Training(dj.Computed):
    definition = """
    -> Month
    ---
    accuracy : float64
    model    : file          # a folder: the model, its history and its metrics
    log      : file
    """

    def make(self, key: dict[str, Any]) -> None:
        run = train((Month & key).fetch1("sales").load())
        self.insert1({**key, **run.result, "model": run.directory, "log": run.log})


def report(sales: NDArray[Any]) -> None:
    """Write a page, a chart, and the data in two formats."""
    chart = Image.fromarray(np.uint8(255 * sales / sales.max())).resize((400, 300))
    Path("charts").mkdir()
    chart.save("charts/sales.png")
    chart.save("monthly_report.pdf", creationDate=None, modDate=None)
    Path("data").mkdir()
    np.savetxt("data/summary.csv", sales, delimiter=",")
    Path("data/details.json").write_text(json.dumps({"days": len(sales), "regions": REGIONS}))


@schema
class Report(dj.Computed):
    definition = """
    -> Month
    ---
    report  : file           # the page, which is sent to people
    archive : file           # a folder: all of it, as it was
    """

    def make(self, key: dict[str, Any]) -> None:
        sales = (Month & key).fetch1("sales").load()
        put = ["monthly_report.pdf", "charts/*.png", "data/*.csv", "data/*.json"]
        with datajoint_file.capture(put, name="monthly_report") as run:
            report(sales)
        self.insert1({**key, "report": run["monthly_report.pdf"], "archive": run.directory})


def process(sales: NDArray[Any]) -> dict[str, int]:
    """Write a large file and a small one."""
    np.save("processed_data.npy", np.repeat(sales, 10_000, axis=0))
    np.savetxt("summary.csv", [sales.mean(0)], delimiter=",")
    return {"rows_processed": 10_000 * len(sales)}


@schema
class Processed(dj.Computed):
    definition = """
    -> Month
    ---
    rows_processed : int64
    data           : file    # stays below the root `nas`
    summary        : file
    """

    def make(self, key: dict[str, Any]) -> None:
        sales = (Month & key).fetch1("sales").load()
        put = ["processed_data.npy", "summary.csv"]
        with datajoint_file.capture(put, keep={"*.npy": "link"}, link_to="nas/processed") as run:
            result = process(sales)
        self.insert1({**key, **result, "data": run["processed_data.npy"], "summary": run["summary.csv"]})


if __name__ == "__main__":
    Path("nas/processed").mkdir(parents=True, exist_ok=True)
    Month.insert1(
        {"month": 1, "sales": ("sales.npy", np.random.default_rng(1).uniform(1, 9, (30, 4)))}, skip_duplicates=True
    )
    for table in (Analysis, Training, Report, Processed):
        table.populate()
        print(table.__name__, table(), sep="\n")
    print(Analysis.Plot())
