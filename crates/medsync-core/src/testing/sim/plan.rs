//! Worlds before they begin: what happens in them, made from their seeds.

use crate::store::fault::Rng;
use crate::testing::sim::step::{Change, Step, Trick};
use crate::testing::sim::template::MOST;

/// A world before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// How many vaults it starts with.
    pub replicas: usize,
    /// Which of them are in hostile hands.
    pub hostile: Vec<bool>,
    /// Whether those who meet use a new folder each time.
    pub fresh_share: bool,
    /// Whether machines remember their vaults, so that older disks are noticed.
    pub anchored: bool,
    /// What happens, with the number of each step.
    pub steps: Vec<(usize, Step)>,
    /// Vaults that do not take part.
    pub without: Vec<usize>,
}

/// What can go wrong in a world.
#[derive(Debug, Clone, Copy)]
struct Weather {
    crashes: bool,
    sticks: bool,
    restores: bool,
    clones: bool,
    clocks: bool,
    revocations: bool,
    hostile: bool,
    medicines: bool,
}

const CODES: [Change; 6] = [
    Change::Code,
    Change::Code,
    Change::Code,
    Change::NoCode,
    Change::Note,
    Change::Tag,
];

const TRICKS: [Trick; 22] = [
    Trick::Equivocate,
    Trick::Equivocate,
    Trick::StartOp,
    Trick::StartOp,
    Trick::Actor,
    Trick::Actor,
    Trick::Time,
    Trick::Twice,
    Trick::Predecessors,
    Trick::Predecessors,
    Trick::FarAhead,
    Trick::NoCause,
    Trick::SawNothing,
    Trick::SawNothing,
    Trick::Future,
    Trick::TwoCommits,
    Trick::Review,
    Trick::Usurp,
    Trick::Pack,
    Trick::Flood,
    Trick::Newer,
    Trick::Withheld,
];

impl Plan {
    /// The world of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x51d_77a1);
        let weather = Weather {
            crashes: rng.one_in(2),
            sticks: rng.one_in(2),
            restores: rng.one_in(3),
            clones: rng.one_in(8),
            clocks: rng.one_in(2),
            revocations: rng.one_in(3),
            hostile: rng.one_in(3),
            medicines: rng.one_in(3),
        };
        let replicas = 2 + [0, 0, 1, 1, 1, 2, 2, 3, 4][rng.below(9) as usize];
        let mut hostile = vec![false; replicas];
        if weather.hostile {
            // The founder stays honest: up to all others do not.
            for _ in 0..=rng.below(replicas as u64 - 1) {
                hostile[1 + rng.below(replicas as u64 - 1) as usize] = true;
            }
        }
        let (fresh_share, anchored) = (rng.one_in(2), rng.one_in(2));
        let mut maker = Maker { rng, weather };
        let mut steps = maker.begin();
        for _ in 0..1 + maker.rng.below(2) {
            for _ in 0..6 + maker.rng.below(16) {
                maker.step(&mut steps);
            }
            steps.push(Step::Quiet);
        }
        let steps = steps.into_iter().enumerate().collect();
        Self {
            seed,
            replicas,
            hostile,
            fresh_share,
            anchored,
            steps,
            without: Vec::new(),
        }
    }
}

struct Maker {
    rng: Rng,
    weather: Weather,
}

impl Maker {
    /// What all know before anything goes wrong: medicines to be stopped, keys to be misused.
    fn begin(&self) -> Vec<Step> {
        let (who, cut) = (0, 0);
        let edit = |record, change| Step::Edit {
            who,
            record,
            change,
            cut,
        };
        if self.weather.medicines || self.weather.hostile {
            let status = Change::Status(1);
            vec![
                edit(2, status),
                edit(3, status),
                edit(5, Change::Code),
                Step::Quiet,
            ]
        } else {
            Vec::new()
        }
    }

    const fn byte(&mut self) -> u8 {
        self.rng.next_u64() as u8
    }

    fn cut(&mut self) -> u8 {
        if self.weather.crashes && self.rng.one_in(6) {
            1 + self.rng.below(20) as u8
        } else {
            0
        }
    }

    fn change(&mut self) -> Change {
        if self.weather.medicines && self.rng.one_in(2) {
            return match self.rng.below(5) {
                0 => Change::NoStatus,
                n => Change::Status([0, 1, 3, 2][n as usize - 1]),
            };
        }
        match self.rng.below(12) {
            0..=2 => Change::Note,
            3 => Change::NoNote,
            4 => Change::Tag,
            5 => Change::NoTag,
            6 => Change::Status(self.rng.below(5) as u8),
            7 => Change::Count(self.rng.below(9) as i8 - 4),
            _ => CODES[self.rng.below(6) as usize],
        }
    }

    /// Adds a step, or a few that belong together.
    fn step(&mut self, steps: &mut Vec<Step>) {
        let (who, record, cut) = (self.byte(), self.byte(), self.cut());
        let medicine = self.weather.medicines && self.rng.one_in(2);
        let record = if medicine { 2 + record % 2 } else { record };
        let step = match self.rng.below(32) {
            0..=8 => self.edit(who, record, cut),
            9 | 10 => Step::Several {
                who,
                first: record,
                count: self.byte(),
                cut,
            },
            11 => Step::Import {
                who,
                salt: self.byte(),
                cut,
            },
            12 | 13 => Step::OpenForm { who, record },
            14 => {
                let pick = self.byte();
                Step::Ask { who, pick }
            }
            15 => {
                let how = self.byte();
                Step::Decide { who, how, cut }
            }
            16..=20 => self.exchange(who, cut),
            21 => self.seldom(who, cut),
            _ => match self.foul(who, cut) {
                Some(step) => step,
                None => self.edit(who, record, cut),
            },
        };
        steps.push(step);
        self.follow(step, steps);
    }

    /// What mostly comes of a step soon.
    fn follow(&mut self, step: Step, steps: &mut Vec<Step>) {
        let (other, cut) = (self.byte(), self.cut());
        match step {
            // Somebody else at the same desk meanwhile, or what a stick brings.
            Step::OpenForm { who, record } => {
                self.meanwhile(who, record, cut, steps);
            }
            // Somebody elsewhere takes away what is final here.
            Step::Edit {
                record,
                change: Change::Status(3),
                ..
            } => {
                let change = Change::NoStatus;
                steps.push(Step::Edit {
                    who: other,
                    record,
                    change,
                    cut,
                });
            }
            Step::Ask { who, .. } if !self.rng.one_in(3) => {
                steps.push(Step::Decide {
                    who,
                    how: other,
                    cut,
                });
            }
            Step::Hostile { stick, .. } if !self.rng.one_in(3) => {
                steps.push(Step::Exchange {
                    who: other,
                    stick,
                    pull: 0,
                    cut,
                });
            }
            Step::Backup { who } if self.weather.restores => {
                let record = self.byte();
                steps.push(Step::Edit {
                    who,
                    record,
                    change: self.change(),
                    cut: 0,
                });
                steps.push(match self.rng.below(3) {
                    0 => Step::Exchange {
                        who,
                        stick: other,
                        pull: 0,
                        cut: 0,
                    },
                    _ => Step::Quiet,
                });
                steps.push(Step::Restore { who, which: other });
                steps.push(Step::Edit {
                    who,
                    record,
                    change: self.change(),
                    cut,
                });
            }
            _ => {}
        }
    }

    /// What happens while a form is open, until it is saved: mostly both write the same field.
    fn meanwhile(&mut self, who: u8, record: u8, cut: u8, steps: &mut Vec<Step>) {
        let first = self.change();
        let second = if self.rng.one_in(4) {
            self.change()
        } else {
            first
        };
        let stick = self.byte();
        steps.push(match self.rng.below(3) {
            0 => Step::Exchange {
                who,
                stick,
                pull: 0,
                cut: 0,
            },
            _ => Step::Edit {
                who,
                record,
                change: first,
                cut: 0,
            },
        });
        if !self.rng.one_in(6) {
            let change = second;
            steps.push(Step::SaveForm { who, change, cut });
        }
    }

    fn edit(&mut self, who: u8, record: u8, cut: u8) -> Step {
        let change = self.change();
        Step::Edit {
            who,
            record,
            change,
            cut,
        }
    }

    fn exchange(&mut self, who: u8, cut: u8) -> Step {
        let pulled = self.weather.sticks && self.rng.one_in(4);
        let pull = if pulled {
            1 + self.rng.below(6) as u8
        } else {
            0
        };
        Step::Exchange {
            who,
            stick: self.byte(),
            pull,
            cut,
        }
    }

    fn seldom(&mut self, who: u8, cut: u8) -> Step {
        match self.rng.below(6) {
            0 => Step::Pack { who, cut },
            1 => Step::Join {
                by: who,
                roles: self.byte(),
            },
            2 => Step::Rebuild { who },
            3 => Step::Restart { who },
            4 => Step::Quiet,
            _ => Step::Backup { who },
        }
    }

    /// Something of the weather, if there is any.
    fn foul(&mut self, who: u8, cut: u8) -> Option<Step> {
        let mut all = self.mishaps(who);
        all.extend(self.doings(who, cut));
        let pick = self.rng.below(all.len() as u64) as usize;
        all.into_iter().nth(pick)
    }

    /// What may happen to things.
    fn mishaps(&mut self, who: u8) -> Vec<Step> {
        let salt = self.rng.next_u64() as u16;
        let (stick, to) = (self.byte(), self.byte());
        let (from, which) = (stick, to);
        let days = self.rng.below(7301) as i16 - 3650;
        let mut all = Vec::new();
        if self.weather.sticks {
            let tamper = Step::Tamper { stick, salt };
            all.extend([tamper, tamper, Step::Mix { from, to }]);
            all.extend([Step::Keep { stick }, Step::PutBack { stick, which }]);
        }
        if self.weather.crashes {
            all.push(Step::PowerCut { who });
        }
        if self.weather.restores {
            all.extend([Step::Backup { who }, Step::Restore { who, which }]);
        }
        if self.weather.clones {
            all.push(Step::Clone { who });
        }
        if self.weather.clocks {
            all.extend([Step::Clock { who, days }; 2]);
        }
        all
    }

    /// What people may do to each other.
    fn doings(&mut self, who: u8, cut: u8) -> Vec<Step> {
        let salt = self.rng.next_u64() as u16;
        let (stick, whom, by) = (self.byte(), self.byte(), who);
        let trick = TRICKS[self.rng.below(TRICKS.len() as u64) as usize];
        let mut all = Vec::new();
        if self.weather.revocations {
            all.extend([Step::RevokePerson { by, whom, cut }; 2]);
            all.push(Step::RevokeDevice { by, whom, cut });
        }
        if self.weather.hostile {
            let hostile = Step::Hostile {
                who,
                trick,
                stick,
                salt,
            };
            all.extend([hostile; 3]);
        }
        all
    }
}

/// Most devices of a world, those that join and clones with them.
pub(super) const DEVICES_MAX: usize = MOST + 3;
