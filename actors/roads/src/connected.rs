//! The largest strongly connected part of a directed graph: within it every place can be reached from every other, so
//! a route always exists and a vehicle never gets trapped in a dead end of one-way roads.

/// For every vertex its arcs' heads, packed.
struct Adjacency {
    first: Vec<usize>,
    heads: Vec<u32>,
}

impl Adjacency {
    fn new(vertices: usize, arcs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut first = vec![0_usize; vertices + 1];
        for (tail, _) in arcs.clone() {
            if let Some(count) = first.get_mut(tail as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut first {
            sum += *count;
            *count = sum;
        }
        let mut next = first.clone();
        let mut heads = vec![0; sum];
        for (tail, head) in arcs {
            if let Some(slot) = next.get_mut(tail as usize) {
                if let Some(place) = heads.get_mut(*slot) {
                    *place = head;
                }
                *slot += 1;
            }
        }
        Self { first, heads }
    }

    fn heads(&self, vertex: u32) -> &[u32] {
        let v = vertex as usize;
        match (self.first.get(v), self.first.get(v + 1)) {
            (Some(&from), Some(&to)) => self.heads.get(from..to).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// Marks the vertices of the largest strongly connected part (Kosaraju's algorithm, without recursion). Of equal parts
/// the one found first wins, so the same map always gives the same network.
pub(crate) fn largest_part(vertices: usize, arcs: &[(u32, u32)]) -> Vec<bool> {
    let order = finishing_order(vertices, &Adjacency::new(vertices, arcs.iter().copied()));
    let reversed = Adjacency::new(vertices, arcs.iter().map(|&(tail, head)| (head, tail)));
    let mut seen = vec![false; vertices];
    let mut largest: Vec<u32> = Vec::new();
    for &root in order.iter().rev() {
        let mut part = Vec::new();
        let mut stack = vec![root];
        while let Some(vertex) = stack.pop() {
            if !visit(&mut seen, vertex) {
                continue;
            }
            part.push(vertex);
            stack.extend_from_slice(reversed.heads(vertex));
        }
        if part.len() > largest.len() {
            largest = part;
        }
    }
    let mut inside = vec![false; vertices];
    for vertex in largest {
        visit(&mut inside, vertex);
    }
    inside
}

/// Marks a vertex; whether it was unmarked before.
fn visit(seen: &mut [bool], vertex: u32) -> bool {
    seen.get_mut(vertex as usize).is_some_and(|mark| !std::mem::replace(mark, true))
}

fn finishing_order(vertices: usize, graph: &Adjacency) -> Vec<u32> {
    let mut seen = vec![false; vertices];
    let mut order = Vec::with_capacity(vertices);
    let mut stack: Vec<(u32, usize)> = Vec::new();
    for root in 0..u32::try_from(vertices).unwrap_or(u32::MAX) {
        if visit(&mut seen, root) {
            stack.push((root, 0));
        }
        while let Some((vertex, next)) = stack.last_mut() {
            if let Some(&head) = graph.heads(*vertex).get(*next) {
                *next += 1;
                if visit(&mut seen, head) {
                    stack.push((head, 0));
                }
            } else {
                order.push(*vertex);
                stack.pop();
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(vertices: usize, arcs: &[(u32, u32)], expected: &[u32]) {
        let inside = largest_part(vertices, arcs);
        let got: Vec<u32> = (0..).zip(inside).filter(|(_, inside)| *inside).map(|(v, _)| v).collect();
        assert_eq!(got, expected, "{arcs:?}");
    }

    #[test]
    fn only_vertices_that_reach_each_other_stay() {
        check(5, &[(0, 1), (1, 2), (2, 0), (2, 3), (3, 4)], &[0, 1, 2]);
        check(6, &[(0, 1), (1, 0), (2, 3), (3, 4), (4, 2), (1, 2), (5, 2)], &[2, 3, 4]);
        check(0, &[], &[]);
        check(3, &[(0, 1), (1, 2)], &[0]);
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let arcs: Vec<(u32, u32)> = (0..50_000).flat_map(|v| [(v, v + 1), (v + 1, v)]).collect();
        assert!(largest_part(50_001, &arcs).into_iter().all(|inside| inside));
    }
}
