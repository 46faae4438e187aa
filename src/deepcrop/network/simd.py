"""Operations on 16 numbers at once, for the compiled kernels of the network.

Numba leaves it to LLVM whether a loop becomes vector code, and cannot keep a block of sums in
registers over a loop. These functions are written in LLVM's language instead: vectors of 16 float32
are one register of AVX-512, and two or four of other processors. Each sum is added in the same
order on every processor that multiplies and adds in one step, so that all of them give the same
bits.

All arrays are one-dimensional and of float32; a block within is an array and the index of its first
number. What is read and written is a multiple of `LANES` long.
"""

from __future__ import annotations

from functools import cache

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 16
"""Numbers in a vector."""


_KIND = f"<{LANES} x float>"
_ONE_STEP = f"""
declare {_KIND} @llvm.fma.v{LANES}f32({_KIND}, {_KIND}, {_KIND})
define {_KIND} @f({_KIND} %x) {{
  %y = call {_KIND} @llvm.fma.v{LANES}f32({_KIND} %x, {_KIND} %x, {_KIND} %x)
  ret {_KIND} %y
}}
"""
"""A function that multiplies and adds vectors, in LLVM's language."""


@cache
def _machine_code():
    """Give the machine code of `_ONE_STEP`, for the processor that numba compiles for.

    What a processor can do follows from its name, its features and settings of numba together, and
    some features from others; so LLVM is asked, and no list of features is read.
    """
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    module = llvmlite.binding.parse_assembly(_ONE_STEP)
    module.triple = triple
    target = llvmlite.binding.Target.from_triple(triple)
    return target.create_target_machine(cpu=name, features=features).emit_assembly(module)


ROWS, COLUMNS = (7, 2) if "zmm" in _machine_code() else (5, 1)
"""Rows, and vectors of a row, of a product that are computed together: as many sums as registers
hold; AVX-512 has registers zmm."""


def can_multiply_and_add() -> bool:
    """Whether numba's code multiplies and adds in one step; without, the kernels are slow."""
    return "fmaf" not in _machine_code()  # a function of the C library, number by number


_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT32, LANES)
_BYTES = ir.IntType(8).as_pointer()
_ARRAY = types.Array(types.float32, 1, "C")
_NONE = ir.Constant(_VECTOR, ir.Undefined)


def _int(n):
    return ir.Constant(_INT64, n)


def _same(value):
    return ir.Constant(_VECTOR, [value] * LANES)


def _call(b, name, *values):
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(values))
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}.v16f32"), values)


def _shuffle(b, x, lanes):
    return b.shuffle_vector(x, _NONE, ir.Constant(_INTS, lanes))


def _splat(b, number):
    return _shuffle(b, b.insert_element(_NONE, number, ir.Constant(_INT32, 0)), [0] * LANES)


def _place(b, pointer, index):
    return b.bitcast(b.gep(pointer, [index]), _VECTOR.as_pointer())


def _load(b, pointer, index):
    return b.load(_place(b, pointer, index), align=4)


def _store(b, value, pointer, index):
    b.store(value, _place(b, pointer, index), align=4)


def _larger(b, x, y):
    return b.select(b.fcmp_ordered(">", x, y), x, y)


def _over_lanes(b, x, operation):
    """Reduce a vector to one number, in all lanes; the order is the same on every processor."""
    for step in (8, 4, 2, 1):
        x = operation(b, x, _shuffle(b, x, [lane ^ step for lane in range(LANES)]))
    return x


def _add(b, x, y):
    return b.fadd(x, y)


def _exp(b, x):
    """Exponential function, to the last digit or two (Cephes); beyond ±87 that of ±87."""
    x = _larger(b, x, _same(-87.0))
    x = b.select(b.fcmp_ordered("<", x, _same(87.0)), x, _same(87.0))
    n = _call(b, "rint", b.fmul(x, _same(1.44269504088896341)))
    r = _call(b, "fma", n, _same(-0.693359375), x)
    r = _call(b, "fma", n, _same(2.12194440e-4), r)
    y = _same(1.9875691500e-4)
    for term in (
        1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
    ):  # fmt: skip
        y = _call(b, "fma", y, r, _same(term))
    y = b.fadd(_call(b, "fma", y, b.fmul(r, r), r), _same(1.0))
    power = b.shl(
        b.add(b.fptosi(n, _INTS), ir.Constant(_INTS, [127] * LANES)),
        ir.Constant(_INTS, [23] * LANES),
    )
    return b.fmul(y, b.bitcast(power, _VECTOR))


def _sigmoid(b, x):
    return b.fdiv(_same(1.0), b.fadd(_same(1.0), _exp(b, b.fneg(x))))


def _spread(b, pointer, index, v):
    """Vector ``v`` of eight numbers, each repeated eight times."""
    parts = [_splat(b, b.load(b.gep(pointer, [b.add(index, _int(2 * v + k))]))) for k in (0, 1)]
    first = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [lane < 8 for lane in range(LANES)])
    return b.select(first, *parts)


def _code(kinds, write):
    """Signature and code of a function for numba, from one that writes LLVM's instructions.

    ``kinds`` has "a" for an array, which is given as a pointer to its first number, and "n" for an
    integer.
    """

    def generate(context, builder, _, values):
        values = [
            context.make_array(_ARRAY)(context, builder, value).data if kind == "a" else value
            for kind, value in zip(kinds, values, strict=True)
        ]
        write(builder, *values)
        return context.get_dummy_value()

    return types.void(*(_ARRAY if kind == "a" else types.int64 for kind in kinds)), generate


def _loop(b, count, state, step):
    """Write a loop: ``step(k, *state)`` gives the next state; return the last. Count is not 0."""
    before, body, after = b.block, b.append_basic_block(), b.append_basic_block()
    b.branch(body)
    b.position_at_end(body)
    k = b.phi(_INT64)
    now = [b.phi(each.type) for each in state]
    then = step(k, *now)
    following = b.add(k, _int(1))
    for phi, first, next_ in zip((k, *now), (_int(0), *state), (following, *then), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_, b.block)
    b.cbranch(b.icmp_signed("<", following, count), body, after)
    b.position_at_end(after)
    return then


def _tile(columns, finish):
    """Make a function that computes `ROWS` rows and some vectors of a product of matrices.

    Each sum starts from a number of ``start``, whose rows are ``start_row`` apart (0: all the
    same). ``finish`` makes of a sum, and of what stands there, what is written.
    """

    def write(b, x, x0, x_row, w, w0, w_step, w_column, count, start, s0, s_row, out, o0, o_row):
        places = [(r, c) for r in range(ROWS) for c in range(columns)]
        rows = [b.gep(x, [b.add(x0, b.mul(x_row, _int(r)))]) for r in range(ROWS)]
        heads = [b.gep(w, [b.add(w0, b.mul(w_column, _int(c)))]) for c in range(columns)]

        def at(first, row, r, c):
            return b.add(b.add(first, b.mul(row, _int(r))), _int(LANES * c))

        def step(k, *sums):
            weights = [_load(b, head, b.mul(k, w_step)) for head in heads]
            numbers = [_splat(b, b.load(b.gep(row, [k]))) for row in rows]
            return [
                _call(b, "fma", numbers[r], weights[c], so_far)
                for (r, c), so_far in zip(places, sums, strict=True)
            ]

        sums = [_load(b, start, at(s0, s_row, r, c)) for r, c in places]
        for (r, c), total in zip(places, _loop(b, count, sums, step), strict=True):
            place = at(o0, o_row, r, c)
            _store(b, finish(b, total, out, place), out, place)

    @intrinsic
    def tile(_, x, x0, x_row, w, w0, w_step, w_column, count, start, s0, s_row, out, o0, o_row):
        return _code("annannnnannann", write)

    return tile


def _product(finish):
    """Make a function that multiplies matrices.

    ``out[r, c] = finish(start[r, c] + sum over k of x[r, k] w[k, c])``, of ``rows`` rows and
    ``vectors`` · `LANES` columns. The rows of x, start and out are ``x_row``, ``s_row``, ``o_row``
    apart. Of w, row k of vector c starts at ``k * w_step + c * w_column``. Rows are computed
    `ROWS` at a time, so that x and out need room for a multiple of it.
    """
    pair, single = _tile(COLUMNS, finish), _tile(1, finish)

    @njit
    def product(
        x, x0, x_row, rows, w, w0, w_step, w_column, count, vectors,
        start, s0, s_row, out, o0, o_row,
    ):  # fmt: skip
        for r in range(0, rows, ROWS):
            a, s, o = x0 + r * x_row, s0 + r * s_row, o0 + r * o_row
            c = 0
            while c + COLUMNS <= vectors:
                pair(
                    x, a, x_row, w, w0 + c * w_column, w_step, w_column, count,
                    start, s + LANES * c, s_row, out, o + LANES * c, o_row,
                )  # fmt: skip
                c += COLUMNS
            while c < vectors:
                single(
                    x, a, x_row, w, w0 + c * w_column, w_step, w_column, count,
                    start, s + LANES * c, s_row, out, o + LANES * c, o_row,
                )  # fmt: skip
                c += 1

    return product


product = _product(lambda b, total, out, place: total)
"""x w + start."""

product_relu = _product(lambda b, total, out, place: _larger(b, total, _same(0.0)))
"""max(x w + start, 0)."""

product_added = _product(lambda b, total, out, place: b.fadd(total, _load(b, out, place)))
"""out + x w + start."""


@intrinsic
def normalise(_, x, x0, scale, offset, p0, epsilon, e0, out, o0):
    """Layer norm of a row of 64 numbers: of scale and offset those from ``p0`` on."""

    def write(b, x, x0, scale, offset, p0, epsilon, e0, out, o0):
        at = [_int(LANES * k) for k in range(4)]

        def mean(values):
            pairs = [b.fadd(values[0], values[1]), b.fadd(values[2], values[3])]
            total = _over_lanes(b, b.fadd(*pairs), _add)
            return b.fmul(total, _same(1 / 64))

        rows = [_load(b, x, b.add(x0, k)) for k in at]
        middle = mean(rows)
        rows = [b.fsub(row, middle) for row in rows]
        variance = mean([b.fmul(row, row) for row in rows])
        least = _splat(b, b.load(b.gep(epsilon, [e0])))
        unit = b.fdiv(_same(1.0), _call(b, "sqrt", b.fadd(variance, least)))
        for row, k in zip(rows, at, strict=True):
            factor, term = (_load(b, each, b.add(p0, k)) for each in (scale, offset))
            _store(b, _call(b, "fma", b.fmul(row, unit), factor, term), out, b.add(o0, k))

    return _code("anaananan", write)


@intrinsic
def softmax(_, x, x0, vectors):
    """Softmax of a row of ``vectors`` vectors, in place."""

    def write(b, x, x0, vectors):
        def at(k):
            return b.add(x0, b.mul(k, _int(LANES)))

        def highest(k, most):
            return [_larger(b, _load(b, x, at(k)), most)]

        def raised(k, total):
            value = _exp(b, b.fsub(_load(b, x, at(k)), top))
            _store(b, value, x, at(k))
            return [b.fadd(total, value)]

        def shared(k):
            _store(b, b.fmul(_load(b, x, at(k)), share), x, at(k))
            return []

        (top,) = _loop(b, vectors, [_same(-3e38)], highest)
        top = _over_lanes(b, top, _larger)
        (total,) = _loop(b, vectors, [_same(0.0)], raised)
        share = b.fdiv(_same(1.0), _over_lanes(b, total, _add))
        _loop(b, vectors, [], shared)

    return _code("ann", write)


@intrinsic
def softmax_of_64(_, x, x0):
    """Softmax of a row of 64 numbers, in place; in registers, so faster than `softmax`."""

    def write(b, x, x0):
        places = [b.add(x0, _int(LANES * k)) for k in range(4)]
        rows = [_load(b, x, place) for place in places]
        top = _larger(b, _larger(b, rows[0], rows[1]), _larger(b, rows[2], rows[3]))
        top = _over_lanes(b, top, _larger)
        rows = [_exp(b, b.fsub(row, top)) for row in rows]
        total = b.fadd(b.fadd(rows[0], rows[1]), b.fadd(rows[2], rows[3]))
        share = b.fdiv(_same(1.0), _over_lanes(b, total, _add))
        for row, place in zip(rows, places, strict=True):
            _store(b, b.fmul(row, share), x, place)

    return _code("an", write)


@intrinsic
def copy(_, x, x0, vectors, out, o0):
    """Copy vectors."""

    def write(b, x, x0, vectors, out, o0):
        def step(k):
            at = b.mul(k, _int(LANES))
            _store(b, _load(b, x, b.add(x0, at)), out, b.add(o0, at))
            return []

        _loop(b, vectors, [], step)

    return _code("annan", write)


@intrinsic
def prefetch(_, x, x0):
    """Begin to load the cache line in which a number stands."""

    def write(b, x, x0):
        kinds = [_BYTES, _INT32, _INT32, _INT32]
        function = ir.FunctionType(ir.VoidType(), kinds)
        # The name of the function depends on how this LLVM writes pointers.
        call = b.module.declare_intrinsic("llvm.prefetch", [_BYTES], function)
        place = b.bitcast(b.gep(x, [x0]), _BYTES)
        b.call(call, [place, *(ir.Constant(_INT32, k) for k in (0, 3, 1))])  # read, keep, data

    return _code("an", write)


@intrinsic
def transpose(_, x, x0, x_row, out, o0):
    """Columns of 16 x 16 numbers, one after the other; the rows are ``x_row`` apart."""

    def write(b, x, x0, x_row, out, o0):
        rows = [_load(b, x, b.add(x0, b.mul(x_row, _int(r)))) for r in range(LANES)]
        # Each step exchanges, between rows whose numbers differ in one bit, the lanes whose
        # numbers differ in it.
        for bit in (8, 4, 2, 1):
            upper = [lane if not lane & bit else LANES + (lane ^ bit) for lane in range(LANES)]
            lower = [LANES + lane if lane & bit else lane | bit for lane in range(LANES)]
            for r in range(LANES):
                if not r & bit:
                    pair = rows[r], rows[r | bit]
                    rows[r], rows[r | bit] = (
                        b.shuffle_vector(*pair, ir.Constant(_INTS, lanes))
                        for lanes in (upper, lower)
                    )
        for r, row in enumerate(rows):
            _store(b, row, out, b.add(o0, _int(LANES * r)))

    return _code("annan", write)


@intrinsic
def sigmoid(_, x, x0):
    """Sigmoid of a vector, in place."""

    def write(b, x, x0):
        _store(b, _sigmoid(b, _load(b, x, x0)), x, x0)

    return _code("an", write)


@intrinsic
def add(_, x, x0, vectors, out, o0):
    """Add vectors of x to those of out."""

    def write(b, x, x0, vectors, out, o0):
        def step(k):
            at = b.mul(k, _int(LANES))
            to = b.add(o0, at)
            _store(b, b.fadd(_load(b, out, to), _load(b, x, b.add(x0, at))), out, to)
            return []

        _loop(b, vectors, [], step)

    return _code("annan", write)


@intrinsic
def multiply_by_eights(_, x, x0, factor, f0):
    """Multiply 64 numbers by eight factors, one for each eight of them, in place."""

    def write(b, x, x0, factor, f0):
        for v in range(4):
            at = b.add(x0, _int(LANES * v))
            _store(b, b.fmul(_load(b, x, at), _spread(b, factor, f0, v)), x, at)

    return _code("anan", write)


@intrinsic
def fade(_, state, s0, decay, d0, distance, t0):
    """Let sums over images fade with the distance of an exponential kernel.

    The state is 32 averages, 32 numbers of the same kind that slopes need, and 32 slopes.
    ``decay`` is the kernel of ``distance``, which is in kernel widths: 32 numbers each.
    """

    def write(b, state, s0, decay, d0, distance, t0):
        for v in range(2):
            averages, even, slopes = (b.add(s0, _int(LANES * (2 * k + v))) for k in range(3))
            kernel = _load(b, decay, b.add(d0, _int(LANES * v)))
            far = _load(b, distance, b.add(t0, _int(LANES * v)))
            _store(b, b.fmul(_load(b, state, averages), kernel), state, averages)
            before = _load(b, state, even)
            slope = _call(b, "fma", far, before, _load(b, state, slopes))
            _store(b, b.fmul(before, kernel), state, even)
            _store(b, b.fmul(slope, kernel), state, slopes)

    return _code("ananan", write)


@intrinsic
def multiply(_, x, x0, factor, f0):
    """Multiply a vector by another, in place."""

    def write(b, x, x0, factor, f0):
        _store(b, b.fmul(_load(b, x, x0), _load(b, factor, f0)), x, x0)

    return _code("anan", write)


@intrinsic
def add_slopes(_, state, s0, sign, g0, out, o0):
    """Add 32 averages, and 32 slopes times a sign, to 64 numbers."""

    def write(b, state, s0, sign, g0, out, o0):
        factor = _splat(b, b.load(b.gep(sign, [g0])))
        for v in range(2):
            averages, slopes = (b.add(s0, _int(LANES * (k + v))) for k in (0, 4))
            first, second = (b.add(o0, _int(LANES * (k + v))) for k in (0, 2))
            total = b.fadd(_load(b, out, first), _load(b, state, averages))
            _store(b, total, out, first)
            total = _call(b, "fma", factor, _load(b, state, slopes), _load(b, out, second))
            _store(b, total, out, second)

    return _code("ananan", write)


@intrinsic
def divide_by_sum(_, x, x0, total, t0, nothing, n0):
    """Divide a vector by another to which a number is added, in place."""

    def write(b, x, x0, total, t0, nothing, n0):
        least = _splat(b, b.load(b.gep(nothing, [n0])))
        _store(b, b.fdiv(_load(b, x, x0), b.fadd(_load(b, total, t0), least)), x, x0)

    return _code("ananan", write)
