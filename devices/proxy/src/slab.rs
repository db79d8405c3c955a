//! Things with numbers that are used again, told apart by a generation.

/// The number of a thing, with the generation of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    index: u32,
    generation: u32,
}

impl Id {
    /// As the low 56 bits of a poller's token.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation & 0xff_ffff) << 32 | u64::from(self.index)
    }
}

/// Things by number.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, thing: T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            // Bounded by the number of descriptors a process has.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let Some((generation, place)) = self.places.get_mut(index as usize) else {
            return Id { index, generation: 0 };
        };
        *generation = generation.wrapping_add(1) & 0xff_ffff;
        *place = Some(thing);
        Id { index, generation: *generation }
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        match self.places.get(id.index as usize) {
            Some((generation, thing)) if *generation == id.generation => thing.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        match self.places.get_mut(id.index as usize) {
            Some((generation, thing)) if *generation == id.generation => thing.as_mut(),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        match self.places.get_mut(id.index as usize) {
            Some((generation, thing)) if *generation == id.generation && thing.is_some() => {
                self.free.push(id.index);
                thing.take()
            }
            _ => None,
        }
    }

    /// What [`Id::to_bits`] gave, if it still stands for something.
    pub(crate) fn by_bits(&self, bits: u64) -> Option<Id> {
        let index = u32::try_from(bits & 0xffff_ffff).ok()?;
        let generation = u32::try_from(bits >> 32).ok()?;
        let (current, thing) = self.places.get(index as usize)?;
        (*current == generation && thing.is_some()).then_some(Id { index, generation })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, thing)| thing.as_ref())
    }

    pub(crate) fn ids(&self) -> Vec<Id> {
        let ids = self.places.iter().zip(0..).filter(|((_, thing), _)| thing.is_some());
        ids.map(|(&(generation, _), index)| Id { index, generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_number_stands_for_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert('a');
        assert_eq!(slab.by_bits(first.to_bits()), Some(first));
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert!(slab.get_mut(first).is_none() && slab.by_bits(first.to_bits()).is_none());
        assert!(slab.remove(first).is_none());
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.ids(), [second]);
    }
}
