# SPDX-License-Identifier: Apache-2.0
"""How async tests, async fixtures and hypothesis come to run on a test's internet.

An async test function is replaced by a plain one, so that pytest and the plugins for asyncio find
nothing left to do; pytest-asyncio, which makes items of a class of its own, is passed by.
"""

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from capas.errors import ConfigurationError

if TYPE_CHECKING:
    from capas.testing.fixture import Internet

_SETTINGS: Final = "_hypothesis_internal_use_settings"  # where hypothesis keeps a test's settings


def adapt(item: pytest.Function) -> None:
    """Make an item one that pytest itself can run."""
    function = item.obj
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    if inner is not None:
        _permit_fixture(item)
        if inspect.iscoroutinefunction(inner):
            item.runtest = functools.partial(_runtest, item)  # type: ignore[method-assign]
    elif inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        def plain(**arguments: Any) -> None:
            __tracebackhide__ = True
            complete(item.funcargs["internet"], function(**arguments))

        del plain.__wrapped__
        item.obj = plain
        item.runtest = functools.partial(_runtest, item)  # type: ignore[method-assign]


def complete(internet: Any, coroutine: Any) -> Any:
    """Run a test's coroutine; its traceback begins with the test, not with the event loop."""
    __tracebackhide__ = True
    code = coroutine.cr_code
    try:
        return internet.complete(coroutine)
    except BaseException as error:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_code is not code:
            traceback = traceback.tb_next
        if traceback is not None:
            error.__traceback__ = traceback
        raise


def _runtest(item: pytest.Function) -> None:
    pytest.Function.runtest(item)


def _permit_fixture(item: pytest.Function) -> None:
    """Each example resets the fixture, so no warning; and virtual time has no deadline.

    Nor is it a fault of the test that many examples have no verdict (`examples`).

    One failure is looked for and shrunk, not each kind of exception by itself: a test of a network
    fails in a dozen ways, and what is wanted is the one smallest set of faults.
    """
    from hypothesis import HealthCheck, Phase, settings

    chosen = getattr(item.obj, _SETTINGS, None) or settings.default
    assert chosen is not None
    harmless = (HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much)
    silenced = {*chosen.suppress_health_check, *harmless}
    function = getattr(item.obj, "__func__", item.obj)
    ordered = [check for check in HealthCheck if check in silenced]
    phases = [phase for phase in chosen.phases if phase is not Phase.explain]
    ours = settings(
        chosen,
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=ordered,
    )
    setattr(function, _SETTINGS, ours)


@contextmanager
def _judged(internet: "Internet", *, drawn: bool) -> Iterator[None]:
    """An example in which a program that the test waits for dies with its host says nothing of the
    program: drawn, it is not counted.
    """
    from hypothesis import reject

    from capas.testing.station import HostDiedError

    try:
        yield
    except HostDiedError:
        if drawn and internet.plan is not None:
            reject()
        raise


@contextmanager
def examples(
    item: pytest.Function,
    internet: "Internet",
    values: dict[str, Any],
    given: Mapping[str, Any] | None,
    *,
    shrink: bool,
) -> Iterator[None]:
    """While the block runs, each example of the test has its own internet, and tells its values.

    ``given`` are values to be used once instead of examples.  Between examples time is the
    machine's: hypothesis measures itself.
    """
    from capas.sim import virtual_time

    handle = item.obj.hypothesis
    inner = handle.inner_test
    used, drawn = False, given is None

    def example(*args: Any, **arguments: Any) -> Any:
        __tracebackhide__ = True
        nonlocal used
        if used:
            internet.reset()
        used = True
        values.clear()
        known = {*item.funcargs, "self"}  # hypothesis names the instance of a test's class, too
        values.update({k: v for k, v in arguments.items() if k not in known})
        virtual_time.adopt_thread(internet.world.driver)
        try:
            with _judged(internet, drawn=drawn):
                made = inner(*args, **arguments)
                return complete(internet, made) if inspect.iscoroutine(made) else made
        finally:
            virtual_time.adopt_thread(cast(Any, None))

    if given is not None:
        before = item.obj
        item.obj = _once(item, inner, example, given)
        try:
            yield
        finally:
            item.obj = before
        return
    function = getattr(item.obj, "__func__", item.obj)
    chosen = getattr(function, _SETTINGS)
    handle.inner_test = example
    virtual_time.adopt_thread(cast(Any, None))
    setattr(function, _SETTINGS, chosen if shrink else _without_shrinking(chosen))
    try:
        yield
    except Exception as error:
        drawn = False
        if shrink:
            _try_single(item, example, dict(values), error)
        raise
    finally:
        handle.inner_test = inner
        setattr(function, _SETTINGS, chosen)
        virtual_time.adopt_thread(internet.world.driver)


def _without_shrinking(chosen: Any) -> Any:
    from hypothesis import Phase, settings

    phases = [phase for phase in chosen.phases if phase is not Phase.shrink]
    return settings(chosen, phases=phases)


def _try_single(item: pytest.Function, example: Any, values: dict[str, Any], error: Any) -> None:
    """If one fault alone fails the test, too, raise what it raises, instead of several faults.

    Shrinking by itself never gets from two faults to another one.  Else the last run is again that
    of ``values``, which raised ``error``.
    """
    from capas.testing.faultplan import FaultPlan

    plans = [(name, plan) for name, plan in values.items() if isinstance(plan, FaultPlan)]
    if len(plans) != 1 or len(plans[0][1]) < 2 or not plans[0][1].single:
        return
    name, whole = plans[0]
    fixtures = {key: item.funcargs[key] for key in item._fixtureinfo.argnames}
    first = (item.instance,) if item.instance is not None else ()
    for fault in whole.single:
        plan = FaultPlan([fault])
        try:
            example(*first, **fixtures, **{**values, name: plan})
        except pytest.skip.Exception:
            continue
        except Exception as found:
            if type(found) is not type(error):
                continue  # another bug, or no verdict (a host that died, an assumption)
            found.add_note(f"Failing test case: {name}={plan!r} (at first {whole})")
            raise found from None
    with suppress(type(error)):
        example(*first, **fixtures, **values)


def _once(item: pytest.Function, inner: Any, example: Any, given: Mapping[str, Any]) -> Any:
    """The test with the values of a replay line instead of drawn ones."""

    def replayed(**fixtures: Any) -> None:
        parameters = inspect.signature(inner).parameters
        unknown = [name for name in given if name not in parameters]
        if unknown:
            raise ConfigurationError(
                f"--capas-replay: the test has no argument {unknown[0]!r}; it has"
                f" {', '.join(parameters)}"
            )
        first = (item.instance,) if item.instance is not None else ()
        example(*first, **fixtures, **given)

    return replayed


@contextmanager
def plain_fixture(fixturedef: Any, request: Any) -> Iterator[None]:
    """While the block runs, an async fixture of a test with an internet is a plain one."""
    function = fixturedef.func
    is_generator = inspect.isasyncgenfunction(function)
    if (
        not (is_generator or inspect.iscoroutinefunction(function))
        or fixturedef.scope != "function"
        or "internet" not in request.fixturenames
        or fixturedef.argname == "internet"
    ):
        yield
        return
    internet: Internet = request.getfixturevalue("internet")
    instance = request.instance
    if instance is not None and hasattr(function, "__func__"):
        function = function.__func__.__get__(instance)

    def plain(**arguments: Any) -> Any:
        return internet.complete(function(**arguments))

    def generator(**arguments: Any) -> Iterator[Any]:
        made = function(**arguments)
        yield internet.complete(_next(made))
        try:
            internet.complete(_next(made))
        except StopAsyncIteration:
            return
        raise ConfigurationError(f"the fixture {fixturedef.argname!r} yields more than once")

    before = fixturedef.func
    fixturedef.func = generator if is_generator else plain
    try:
        yield
    finally:
        fixturedef.func = before


async def _next(made: Any) -> Any:
    return await made.__anext__()
