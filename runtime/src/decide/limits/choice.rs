//! Which CPUs a process is kept to.

use std::cmp::Reverse;

use crate::cpus::CpuList;
use crate::look::cpus::Topology;

/// Chooses so many CPUs of those that are allowed; each rank of a node others, as far as there are
/// enough.
pub(super) fn choose(allowed: &CpuList, topology: &Topology, count: usize, rank: usize) -> CpuList {
    let order = order(allowed, topology);
    if count >= order.len() {
        return allowed.clone();
    }
    let first = rank.saturating_mul(count) % order.len();
    order.iter().cycle().skip(first).take(count).copied().collect()
}

/// The CPUs in the order in which they are taken: those of the memory node with the most of them
/// first, and of whole cores before those of cores that somebody else has a part of.
fn order(allowed: &CpuList, topology: &Topology) -> Vec<u32> {
    let node_of = |cpu: u32| {
        let nodes = topology.nodes.iter().enumerate().filter(|(_, node)| node.has(cpu));
        let near = nodes.map(|(number, node)| (Reverse(node.common(allowed).count()), number));
        near.min().unwrap_or((Reverse(0), usize::MAX))
    };
    let mut cpus: Vec<_> = allowed
        .iter()
        .map(|cpu| {
            let core = topology.cores.iter().find(|core| core.has(cpu));
            let is_part = core.is_some_and(|core| core.common(allowed) != *core);
            let core = core.and_then(|core| core.common(allowed).iter().next()).unwrap_or(cpu);
            (node_of(cpu), is_part, core, cpu)
        })
        .collect();
    cpus.sort_unstable();
    cpus.into_iter().map(|(.., cpu)| cpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        CpuList::parse(text).unwrap()
    }

    fn lists(texts: &[&str]) -> Vec<CpuList> {
        texts.iter().map(|text| list(text)).collect()
    }

    /// Two sockets of four cores of two threads: 0 and 8 are one core.
    fn two_sockets() -> Topology {
        let cores = ["0,8", "1,9", "2,10", "3,11", "4,12", "5,13", "6,14", "7,15"];
        Topology { cores: lists(&cores), nodes: lists(&["0-3,8-11", "4-7,12-15"]) }
    }

    #[test]
    fn cores_are_taken_whole() {
        let chosen = |count| choose(&list("0-15"), &two_sockets(), count, 0).to_string();
        assert_eq!(chosen(1), "0");
        assert_eq!(chosen(2), "0,8");
        assert_eq!(chosen(4), "0-1,8-9");
        assert_eq!(chosen(9), "0-4,8-11", "a node is filled before the next one");
        assert_eq!(chosen(99), "0-15");
        let with_a_part = choose(&list("0,1,9,2"), &two_sockets(), 2, 0);
        assert_eq!(with_a_part.to_string(), "1,9", "the core that is whole comes first");
    }

    #[test]
    fn the_node_with_most_of_the_mask_comes_first() {
        assert_eq!(choose(&list("0,4-6,12"), &two_sockets(), 2, 0).to_string(), "4,12");
    }

    #[test]
    fn ranks_take_others() {
        let chosen = |rank| choose(&list("0-15"), &two_sockets(), 4, rank).to_string();
        assert_eq!([0, 1, 2, 3].map(chosen), ["0-1,8-9", "2-3,10-11", "4-5,12-13", "6-7,14-15"]);
        assert_eq!(chosen(4), chosen(0), "there are no more");
    }

    #[test]
    fn nothing_is_known_of_how_they_lie() {
        assert_eq!(choose(&list("3-6"), &Topology::default(), 2, 1).to_string(), "5-6");
    }
}
