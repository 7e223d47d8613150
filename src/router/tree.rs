//! Byte prefix trees over paths, all in one arena: one tree per host binding.
//!
//! Invariant: a walk from a root meets exactly the nodes whose text is a prefix of the path, short
//! before long; a node's `best` is the lowest rank in it and below it, so a walk can stop early.
//! Lists are in ascending rank.

use std::collections::VecDeque;

use crate::util::background::give_way;

/// A place where nothing is.
pub(super) const NONE: u32 = u32::MAX;

/// A run of an arena.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn of<T>(self, arena: &[T]) -> &[T] {
        &arena[self.start as usize..(self.start + self.len) as usize]
    }
}

/// The entries whose path text ends here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The text between the parent and this node, without the first byte: that has led here. Of
    /// a root all of it.
    label: Span,
    /// Children: consecutive nodes, ascending by first byte.
    kids: Span,
    plain: Span,
    regex: Span,
    /// The lowest rank here and below.
    pub(super) best: u32,
    /// Index of the second index over the plain list, or `NONE`.
    pub(super) fan: u32,
    /// Index of the joint automata over the list of expressions, or `NONE`.
    pub(super) sieve: u32,
}

/// An entry to be planted: rank `rank` under `path` in tree `tree`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seed<'p> {
    pub(super) tree: u32,
    /// A prefix, or the literal start of an expression; empty without a path criterion.
    pub(super) path: &'p [u8],
    pub(super) regex: bool,
    pub(super) rank: u32,
}

impl Node {
    /// Whether it only leads on: no entry ends here.
    #[inline]
    pub(super) fn is_fork(&self) -> bool {
        self.plain.len | self.regex.len == 0
    }
}

/// All trees. The root of tree `t` is node `t`.
#[derive(Debug, Default)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    /// Per node the first byte of its label, apart so that children are found in one cache line.
    firsts: Vec<u8>,
    text: Vec<u8>,
    lists: Vec<u32>,
}

impl Forest {
    /// Plants the seeds; the trees are numbered from 0 without a gap.
    pub(super) fn plant(mut seeds: Vec<Seed<'_>>) -> Self {
        seeds.sort_unstable();
        let mut forest = Forest::default();
        let mut queue = VecDeque::new();
        for tree in seeds.chunk_by(|a, b| a.tree == b.tree) {
            debug_assert_eq!(tree[0].tree as usize, forest.nodes.len());
            queue.push_back((forest.push(0), tree, 0));
        }
        while let Some((node, seeds, depth)) = queue.pop_front() {
            give_way();
            forest.grow(node, seeds, depth, &mut queue);
        }
        forest
    }

    fn push(&mut self, first: u8) -> usize {
        let none = Span::default();
        let node = Node {
            label: none,
            kids: none,
            plain: none,
            regex: none,
            best: NONE,
            fan: NONE,
            sieve: NONE,
        };
        self.nodes.push(node);
        self.firsts.push(first);
        self.nodes.len() - 1
    }

    /// Fills a node with seeds that agree in their first `depth` bytes, and queues its children.
    fn grow<'s, 'p>(
        &mut self,
        at: usize,
        seeds: &'s [Seed<'p>],
        depth: usize,
        queue: &mut VecDeque<(usize, &'s [Seed<'p>], usize)>,
    ) {
        let end = depth + common_len(seeds, depth);
        let here = seeds.partition_point(|seed| seed.path.len() == end);
        let (here, below) = seeds.split_at(here);
        let plain = here.partition_point(|seed| !seed.regex);
        let kids = self.nodes.len() as u32;
        let mut count = 0;
        for group in below.chunk_by(|a, b| a.path[end] == b.path[end]) {
            queue.push_back((self.push(group[0].path[end]), group, end + 1));
            count += 1;
        }
        let label = seeds.first().map_or(Span::default(), |seed| {
            self.keep_text(&seed.path[depth..end])
        });
        self.nodes[at] = Node {
            label,
            kids: Span {
                start: kids,
                len: count,
            },
            plain: self.keep_list(&here[..plain]),
            regex: self.keep_list(&here[plain..]),
            best: seeds.iter().map(|seed| seed.rank).min().unwrap_or(NONE),
            fan: NONE,
            sieve: NONE,
        };
    }

    fn keep_text(&mut self, text: &[u8]) -> Span {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(text);
        Span {
            start,
            len: text.len() as u32,
        }
    }

    fn keep_list(&mut self, seeds: &[Seed<'_>]) -> Span {
        let start = self.lists.len() as u32;
        self.lists.extend(seeds.iter().map(|seed| seed.rank));
        Span {
            start,
            len: seeds.len() as u32,
        }
    }

    /// Entries that are decided by the walk alone (prefixes, and those without a path).
    #[inline]
    pub(super) fn plain(&self, node: &Node) -> &[u32] {
        node.plain.of(&self.lists)
    }

    /// Entries whose expression has still to be run.
    #[inline]
    pub(super) fn regex(&self, node: &Node) -> &[u32] {
        node.regex.of(&self.lists)
    }

    /// Every node with its two lists, to hang something on it.
    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = (&mut Node, &[u32], &[u32])> {
        let lists = &self.lists;
        self.nodes.iter_mut().map(|node| {
            let (plain, regex) = (node.plain.of(lists), node.regex.of(lists));
            (node, plain, regex)
        })
    }

    /// Visits the nodes that are prefixes of `path`, from the root down, until `visit` says no.
    #[inline]
    pub(super) fn walk<'f>(
        &'f self,
        root: u32,
        path: &[u8],
        mut visit: impl FnMut(&'f Node) -> bool,
    ) {
        let mut next = self.nodes.get(root as usize);
        let mut rest = path;
        while let Some(node) = next {
            // Most labels below a fork are one byte long: the call to compare nothing is saved.
            if node.label.len > 0 {
                let Some(after) = rest.strip_prefix(node.label.of(&self.text)) else {
                    return;
                };
                rest = after;
            }
            if !visit(node) {
                return;
            }
            let Some((&first, after)) = rest.split_first() else {
                return;
            };
            (next, rest) = (self.kid(node, first), after);
        }
    }

    #[inline]
    fn kid(&self, node: &Node, first: u8) -> Option<&Node> {
        let firsts = node.kids.of(&self.firsts);
        let at = match firsts.len() {
            0..=16 => firsts.iter().position(|&known| known == first)?,
            _ => firsts.binary_search(&first).ok()?,
        };
        Some(&self.nodes[node.kids.start as usize + at])
    }
}

/// How many bytes all seeds share behind the first `depth`. They are sorted: the ends decide.
fn common_len(seeds: &[Seed<'_>], depth: usize) -> usize {
    match seeds {
        [first, .., last] => {
            let pairs = first.path[depth..].iter().zip(&last.path[depth..]);
            pairs.take_while(|(a, b)| a == b).count()
        }
        [only] => only.path.len() - depth,
        [] => 0,
    }
}
