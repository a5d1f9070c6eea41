# SPDX-License-Identifier: MIT
"""The demonstration: a trained checkpoint drives the simulated arm through the ROS processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from difftori_models.checkpoint import load_card
from difftori_models.inference.graph_cache import ready_graphs
from difftori_ros.config.paths import find_checkpoint
from difftori_sim.arm.tasks import task_of
from difftori_sim.evaluation.direct import seed_range
from difftori_sim.evaluation.results import Result
from difftori_sim.evaluation.through_ros import result_of
from difftori_sim.ros.process_operator import Operator, RosEpisode

from .live_table import PlanRow, live_table
from .picture import draw_path, write_strip, write_video

VIDEO_FPS = 20.0


def run_demo(
    checkpoint: str,
    *,
    episodes: int,
    first_seed: int,
    out: Path,
    console: Console,
    clock: str = "lockstep",
    domain: int | None = None,
    video: bool = True,
) -> Result:
    """Run episodes through the three processes and show what happens; return the result.

    Args:
        checkpoint: Folder, or the name of one that ships.
        episodes: How many.
        first_seed: First seed.
        out: Folder for the video, the strip and the logs.
        console: Where to show it.
        clock: `lockstep` or `wall`.
        domain: ROS domain; None takes a random one.
        video: Write pictures of the first episode.
    """
    seeds = seed_range(first_seed, episodes)
    card = load_card(find_checkpoint(checkpoint))
    task = task_of(card)
    console.print(
        f"[bold]{card.task}[/bold] with [bold]{card.name}[/bold] ({card.method}), "
        f"{episodes} episodes on {seeds} seeds from {first_seed}, {clock}",
        soft_wrap=True,
    )
    ready_graphs(find_checkpoint(checkpoint), say=console.print)
    console.print("starting ...")
    done: list[RosEpisode] = []
    with Operator(
        checkpoint,
        clock=clock,
        domain=domain,
        logs=out / "logs",
        bridge_parameters={"max_time_s": task.max_steps * task.action.dt_s},
    ) as operator:
        console.print(
            f"sim_bridge, guard_node and policy_node run on ROS domain {operator.domain}"
        )
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            rows: list[PlanRow] = []

            def show() -> None:
                live.update(_screen(rows, done, episodes, console.width))

            def on_plan(values: Mapping[str, str]) -> None:
                start_ns = int(operator.recorder.bridge.get("start_ns", 0))
                time_s = (int(values["stamp_ns"]) - start_ns) * 1e-9
                guard = operator.recorder.guard
                state = guard.state.name if guard else ""
                rows.append(PlanRow(values, state, time_s))
                show()

            operator.recorder.on_plan = on_plan
            for k in range(episodes):
                rows.clear()
                done.append(operator.run(first_seed + k, view=video and k == 0))
                show()
        if not console.is_terminal:
            console.line()  # what Live leaves out when its output goes to a file
        projection = operator.recorder.view_projection
    result = result_of(done, card, card.method, first_seed)
    if video and projection is not None and done[0].views:
        frames = [draw_path(frame, path, projection) for frame, path in done[0].views]
        write_video(out / "episode.mp4", frames, VIDEO_FPS)
        write_strip(out / "episode.png", frames)
        console.print(f"wrote {out / 'episode.mp4'} and {out / 'episode.png'}")
    for episode in done:
        if episode.stops:
            console.print(f"seed {episode.seed}: the guard stepped in: {', '.join(episode.stops)}")
    console.print(f"[bold]{result.sentence}[/bold]", soft_wrap=True)
    console.print(
        f"plan time: median {result.plan_ms_p50:.1f} ms, p99 {result.plan_ms_p99:.1f} ms"
    )
    return result


def _screen(
    rows: Sequence[PlanRow], done: Sequence[RosEpisode], episodes: int, width: int
) -> Group:
    title = f"episode {min(len(done) + 1, episodes)} of {episodes}"
    marks = "".join("[green]✓[/green]" if e.success else "[red]✗[/red]" for e in done)
    success = f"episodes: {marks or '-'}  {sum(e.success for e in done)}/{len(done)}"
    return Group(live_table(rows, title, width), success)
