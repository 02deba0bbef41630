"""Retrieval measures: pure TensorFlow functions of a ranking's relevance.

`relevance` is always a (queries, ranked) boolean matrix whose row is one query's gallery in ranked
order, best first: `relevance[q, k - 1]` says whether the item at rank k is relevant. Symbols:

  N          items in the gallery
  R          relevant items in the gallery, per query (`num_relevant`)
  K          depth: how many ranks are looked at
  rel(k)     1 if the item at rank k is relevant, else 0
  P(k)       precision at rank k, (rel(1) + … + rel(k)) / k

The definitions are those of Manning, Raghavan and Schütze, "Introduction to Information Retrieval"
(2008), §8.4. The paper (§4.2) reports mean average precision in its Tables 1–3 and
precision-scope curves in Fig. 3.
"""

from typing import Literal

import tensorflow as tf

from xgacmn_tf.errors import InputError

Normalizer = Literal["relevant", "hits", "min"]


def average_precision(
    relevance: tf.Tensor,
    num_relevant: tf.Tensor,
    depth: int | tf.Tensor | None = None,
    normalizer: Normalizer = "relevant",
) -> tf.Tensor:
    """AP = Σ_{k ≤ K} rel(k) P(k) / Z, per query.

    Z is set by `normalizer`:
      "relevant"  R, all relevant items of the gallery. With K = N the AP of text books, with
                  K < N that of TREC.
      "hits"      the relevant items found within K. The published code of ACMR (Wang et al. 2017)
                  and DSCMR (Zhen et al. 2019) divides so; it favours rankings that find few.
      "min"       min(K, R), what a perfect ranking would find within K.

    Worked: relevant items at ranks 1, 3 and 6, R = 3. Full AP = (1/1 + 2/3 + 3/6) / 3 = 0.7222.
    At K = 5 the sum is 1/1 + 2/3 = 1.6667: 0.5556 by "relevant", 0.8333 by "hits", 0.5556 by
    "min" (which at K = 2 gives 1/2 where "relevant" gives 1/3).

    Args:
      relevance: (q, n) bool, ranked.
      num_relevant: (q,) integers, R. A query with R = 0 has AP 0.
      depth: K ≥ 1; a depth beyond n looks at all n. None: n.
      normalizer: as above.

    Returns:
      (q,) float32 in [0, 1].

    Raises:
      InputError: `normalizer` is none of the three.
    """
    relevance = relevance[:, :depth]
    hits, precision = _hits_and_precision(relevance)
    total = tf.reduce_sum(tf.where(relevance, precision, 0.0), axis=1)
    num_relevant = tf.cast(num_relevant, tf.int32)
    if normalizer == "relevant":
        divisor = num_relevant
    elif normalizer == "hits":
        divisor = hits[:, -1]
    elif normalizer == "min":
        divisor = num_relevant if depth is None else tf.minimum(num_relevant, depth)
    else:
        raise InputError(f"normalizer {normalizer!r} is unknown; use 'relevant', 'hits' or 'min'")
    return tf.math.divide_no_nan(total, tf.cast(divisor, tf.float32))


def precision_at(relevance: tf.Tensor, depth: int | tf.Tensor) -> tf.Tensor:
    """P(K) = (relevant items within the first K) / K, per query.

    Over K = 1, 2, …, averaged over queries, this is the precision-scope curve of the paper's
    Fig. 3. Beyond the end of the ranking there is nothing to find, but K still divides.

    Worked: relevant items at ranks 1 and 3 give P(1) = 1, P(2) = 1/2, P(3) = 2/3.

    Args:
      relevance: (q, n) bool, ranked.
      depth: K ≥ 1, one or a (d,) vector of them.

    Returns:
      (q,) float32 in [0, 1], or (q, d) for a vector of depths.
    """
    depth = tf.convert_to_tensor(depth, tf.int32)
    hits, _ = _hits_and_precision(relevance)
    found = tf.gather(hits, tf.minimum(depth, tf.shape(hits)[1]) - 1, axis=1)
    return tf.cast(found, tf.float32) / tf.cast(depth, tf.float32)


def precision_recall_curve(
    relevance: tf.Tensor, num_relevant: tf.Tensor, points: int | tf.Tensor = 11
) -> tf.Tensor:
    """Interpolated precision at `points` evenly spaced recalls from 0 to 1, per query.

    p(r) = max { P(k) : hits(k) / R ≥ r }, or 0 where the ranking never reaches recall r
    (Manning et al., §8.4; TREC uses 11 points, COCO 101).

    Worked: relevant items at ranks 1 and 4, R = 2. Recall .5 is reached at rank 1 with precision
    1, recall 1 at rank 4 with precision 1/2: the 11 points are six times 1, then five times 0.5.

    Args:
      relevance: (q, n) bool, ranked.
      num_relevant: (q,) integers, R. A query with R = 0 has precision 0 throughout.
      points: how many recalls, at least 2.

    Returns:
      (q, points) float32 in [0, 1], non-increasing along each row.
    """
    hits, precision = _hits_and_precision(relevance)
    queries = tf.shape(relevance)[0]
    num_relevant = tf.cast(num_relevant, tf.int32)[:, tf.newaxis]
    # The highest recall point that a rank reaches, in integers because 3/10 · 10 may be 2.99….
    level = tf.minimum(hits * (points - 1) // tf.maximum(num_relevant, 1), points - 1)
    segment = level + points * tf.range(queries)[:, tf.newaxis]
    best = tf.math.unsorted_segment_max(precision, segment, queries * points)
    # A recall point that no rank ends at holds the lowest float: precision 0, as a start.
    best = tf.maximum(tf.reshape(best, [queries, points]), 0.0)
    reached = tf.linalg.band_part(tf.ones([points, points], tf.bool), 0, -1)
    return tf.reduce_max(tf.where(reached, best[:, tf.newaxis, :], 0.0), axis=2)


def rank_of(order: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
    """The rank, counted from 1, at which each query's `item` stands.

    Recall at K of the one item that belongs to a query is `rank_of(order, item) <= K`.
    Worked: order 4, 2, 7 and item 2 give rank 2.

    Args:
      order: (q, n) integers, gallery rows in ranked order.
      item: (q,) integers, the gallery row looked for.

    Returns:
      (q,) int32 in [1, n], or n + 1 where the item is not in the ranking.
    """
    found = tf.equal(order, tf.cast(item, order.dtype)[:, tf.newaxis])
    position = tf.argmax(found, axis=1, output_type=tf.int32)
    length = tf.shape(order)[1]
    return 1 + tf.where(tf.reduce_any(found, axis=1), position, length)


def chance_average_precision(
    num_relevant: tf.Tensor,
    gallery_size: int,
    depth: int | None = None,
    normalizer: Normalizer = "relevant",
) -> tf.Tensor:
    """The expected `average_precision` of a ranking drawn at random, in closed form.

    With H(K) = 1 + 1/2 + … + 1/K, rank k holds a relevant item with probability R/N, and then
    each rank before it does with probability (R − 1)/(N − 1), so that

      S(R, N, K) = E[Σ_{k ≤ K} rel(k) P(k)] / R = (1/N) Σ_{k ≤ K} (1/k) (1 + (k − 1)(R − 1)/(N − 1))
                 = (1/N) (H(K) + (K − H(K)) (R − 1)/(N − 1)).

    "relevant"  S(R, N, K); for K = N the formula of Bestgen, "Exact Expected Average Precision of
                the Random Baseline for System Evaluation" (2015).
    "min"       S(R, N, K) R / min(K, R).
    "hits"      given that h ≥ 1 of the K items are relevant they lie at random within the K, so
                that AP has mean S(h, K, K), which is linear in h; h is hypergeometric with mean
                KR/N and P(h = 0) = p₀ = C(N − R, K) / C(N, K). Together
                (1/K) (H(K) (1 − p₀) + (K − H(K)) (KR/N − (1 − p₀)) / (K − 1)).

    Worked: N = 3, R = 1: the item is first, second or third, (1 + 1/2 + 1/3) / 3 = 0.6111. At
    K = 2: (1 + 1/2 + 0) / 3 = 0.5 whichever the normalizer.

    Args:
      num_relevant: (q,) integers, R in [0, N].
      gallery_size: N ≥ 1.
      depth: K ≥ 1; a depth beyond N looks at all N. None: N.
      normalizer: as for `average_precision`.

    Returns:
      (q,) float64 in [0, 1]; 0 where R = 0.

    Raises:
      InputError: an argument outside its range.
    """
    if gallery_size < 1:
        raise InputError(f"gallery_size is {gallery_size}; it must be at least 1")
    if depth is not None and depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1")
    relevant = tf.cast(num_relevant, tf.float64)
    if tf.reduce_any((relevant < 0) | (relevant > gallery_size)):
        raise InputError(f"num_relevant must lie between 0 and gallery_size = {gallery_size}")
    items = tf.constant(gallery_size, tf.float64)
    within = tf.constant(min(depth or gallery_size, gallery_size), tf.float64)
    harmonic = tf.reduce_sum(1.0 / tf.range(1.0, within + 1.0, dtype=tf.float64))
    if normalizer == "hits":
        hit = 1.0 - _chance_of_no_hit(relevant, items, within)
        others = within * relevant / items - hit
        expected = harmonic * hit + (within - harmonic) * others / tf.maximum(within - 1.0, 1.0)
        expected /= within
    elif normalizer in ("relevant", "min"):
        others = (relevant - 1.0) / tf.maximum(items - 1.0, 1.0)
        expected = (harmonic + (within - harmonic) * others) / items
        if normalizer == "min" and depth is not None:
            expected *= tf.maximum(relevant / tf.cast(depth, tf.float64), 1.0)
    else:
        raise InputError(f"normalizer {normalizer!r} is unknown; use 'relevant', 'hits' or 'min'")
    return tf.where(relevant > 0, expected, 0.0)


def _hits_and_precision(relevance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(q, n) int32 relevant items up to each rank, and (q, n) float32 P(k)."""
    hits = tf.cumsum(tf.cast(relevance, tf.int32), axis=1)
    ranks = tf.range(1, tf.shape(relevance)[1] + 1)
    return hits, tf.cast(hits, tf.float32) / tf.cast(ranks, tf.float32)


def _chance_of_no_hit(relevant: tf.Tensor, items: tf.Tensor, within: tf.Tensor) -> tf.Tensor:
    """C(N − R, K) / C(N, K), through logarithms of factorials, which do not overflow."""
    irrelevant = items - relevant
    remaining = tf.maximum(irrelevant - within, 0.0)  # Zero also where the binomial below is zero.
    log_ratio = (
        tf.math.lgamma(irrelevant + 1.0)
        - tf.math.lgamma(remaining + 1.0)
        - tf.math.lgamma(items + 1.0)
        + tf.math.lgamma(items - within + 1.0)
    )
    return tf.where(irrelevant >= within, tf.exp(log_ratio), 0.0)
