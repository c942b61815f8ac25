//! Clinical codes, with what the generator has to know about each.

/// SNOMED CT, display, ICD-10, whether it stays for life.
pub(super) type Problem = (&'static str, &'static str, &'static str, bool);

pub(super) static PROBLEMS: [Problem; 18] = [
    ("38341003", "Hypertensive disorder", "I10", true),
    ("44054006", "Diabetes mellitus type 2", "E11.9", true),
    ("195967001", "Asthma", "J45.9", true),
    ("61462000", "Malaria", "B54", false),
    ("56717001", "Tuberculosis", "A15.9", false),
    ("271737000", "Anemia", "D64.9", false),
    ("25374005", "Gastroenteritis", "A09", false),
    ("54150009", "Upper respiratory infection", "J06.9", false),
    ("386661006", "Fever", "R50.9", false),
    (
        "68566005",
        "Urinary tract infectious disease",
        "N39.0",
        false,
    ),
    (
        "13645005",
        "Chronic obstructive lung disease",
        "J44.9",
        true,
    ),
    ("84757009", "Epilepsy", "G40.9", true),
    ("40930008", "Hypothyroidism", "E03.9", true),
    (
        "417357006",
        "Sickling disorder due to hemoglobin S",
        "D57.1",
        true,
    ),
    ("38362002", "Dengue", "A90", false),
    ("4834000", "Typhoid fever", "A01.0", false),
    ("396275006", "Osteoarthritis", "M19.9", true),
    ("35489007", "Depressive disorder", "F32.9", false),
];

/// A test with a number for an answer. Values are scaled by 10^places.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) code: &'static str,
    pub(super) display: &'static str,
    pub(super) unit: &'static str,
    pub(super) places: u32,
    /// Lowest and highest that occur.
    pub(super) span: (i64, i64),
    /// Lowest and highest that are normal.
    pub(super) normal: (i64, i64),
}

const fn measure(
    code: &'static str,
    display: &'static str,
    unit: &'static str,
    places: u32,
    span: (i64, i64),
    normal: (i64, i64),
) -> Measure {
    Measure {
        code,
        display,
        unit,
        places,
        span,
        normal,
    }
}

pub(super) static LABS: [Measure; 14] = [
    measure(
        "4548-4",
        "Hemoglobin A1c/Hemoglobin.total in Blood",
        "%",
        2,
        (410, 1350),
        (400, 560),
    ),
    measure(
        "718-7",
        "Hemoglobin [Mass/volume] in Blood",
        "g/dL",
        1,
        (58, 175),
        (120, 160),
    ),
    measure(
        "2160-0",
        "Creatinine [Mass/volume] in Serum or Plasma",
        "mg/dL",
        2,
        (40, 310),
        (60, 120),
    ),
    measure(
        "14749-6",
        "Glucose [Moles/volume] in Serum or Plasma",
        "mmol/L",
        2,
        (300, 1800),
        (390, 610),
    ),
    measure(
        "2951-2",
        "Sodium [Moles/volume] in Serum or Plasma",
        "mmol/L",
        0,
        (124, 152),
        (136, 145),
    ),
    measure(
        "2823-3",
        "Potassium [Moles/volume] in Serum or Plasma",
        "mmol/L",
        2,
        (280, 650),
        (350, 510),
    ),
    measure(
        "1742-6",
        "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma",
        "U/L",
        0,
        (5, 210),
        (7, 56),
    ),
    measure(
        "6690-2",
        "Leukocytes [#/volume] in Blood by Automated count",
        "10*3/uL",
        2,
        (190, 1900),
        (400, 1100),
    ),
    measure(
        "777-3",
        "Platelets [#/volume] in Blood by Automated count",
        "10*3/uL",
        0,
        (35, 460),
        (150, 400),
    ),
    measure(
        "2093-3",
        "Cholesterol [Mass/volume] in Serum or Plasma",
        "mg/dL",
        0,
        (110, 310),
        (120, 200),
    ),
    measure(
        "3016-3",
        "Thyrotropin [Units/volume] in Serum or Plasma",
        "m[IU]/L",
        3,
        (10, 12_000),
        (400, 4000),
    ),
    measure(
        "1988-5",
        "C reactive protein [Mass/volume] in Serum or Plasma",
        "mg/L",
        1,
        (0, 1400),
        (0, 50),
    ),
    measure(
        "2276-4",
        "Ferritin [Mass/volume] in Serum or Plasma",
        "ng/mL",
        1,
        (30, 4000),
        (150, 2000),
    ),
    measure(
        "1975-2",
        "Bilirubin.total [Mass/volume] in Serum or Plasma",
        "mg/dL",
        2,
        (10, 600),
        (20, 120),
    ),
];

pub(super) static VITALS: [Measure; 5] = [
    measure("8867-4", "Heart rate", "/min", 0, (48, 132), (60, 100)),
    measure(
        "8310-5",
        "Body temperature",
        "Cel",
        1,
        (355, 402),
        (361, 374),
    ),
    measure("9279-1", "Respiratory rate", "/min", 0, (10, 34), (12, 20)),
    measure(
        "2708-6",
        "Oxygen saturation in Arterial blood",
        "%",
        0,
        (82, 100),
        (94, 100),
    ),
    measure(
        "29463-7",
        "Body weight",
        "kg",
        2,
        (4200, 9800),
        (4500, 8000),
    ),
];

/// LOINC panels a report can be of.
pub(super) static PANELS: [(&str, &str); 5] = [
    ("58410-2", "CBC panel - Blood by Automated count"),
    (
        "24323-8",
        "Comprehensive metabolic 2000 panel - Serum or Plasma",
    ),
    ("57698-3", "Lipid panel with direct LDL - Serum or Plasma"),
    ("24356-8", "Urinalysis complete panel - Urine"),
    ("24325-3", "Hepatic function 2000 panel - Serum or Plasma"),
];

/// SNOMED CT codes of blood groups with the shares of South Asia and West Africa between them.
pub(super) static BLOOD_GROUPS: [(u64, (&str, &str)); 8] = [
    (22, ("278149003", "Blood group A Rh(D) positive")),
    (2, ("278152006", "Blood group A Rh(D) negative")),
    (30, ("278150003", "Blood group B Rh(D) positive")),
    (2, ("278153001", "Blood group B Rh(D) negative")),
    (35, ("278147001", "Blood group O Rh(D) positive")),
    (3, ("278148006", "Blood group O Rh(D) negative")),
    (5, ("278151004", "Blood group AB Rh(D) positive")),
    (1, ("278154007", "Blood group AB Rh(D) negative")),
];

/// SNOMED CT, display, category of AllergyIntolerance.
pub(super) static ALLERGENS: [(&str, &str, &str); 9] = [
    ("764146007", "Penicillin", "medication"),
    ("387207008", "Ibuprofen", "medication"),
    ("387458008", "Aspirin", "medication"),
    ("387406002", "Sulfonamide", "medication"),
    ("762952008", "Peanut", "food"),
    ("102263004", "Eggs", "food"),
    ("227037002", "Fish", "food"),
    ("111088007", "Latex", "environment"),
    ("260147004", "House dust mite", "environment"),
];

pub(super) static REACTIONS: [(&str, &str); 5] = [
    ("247472004", "Hives"),
    ("39579001", "Anaphylaxis"),
    ("271807003", "Eruption of skin"),
    ("267036007", "Dyspnea"),
    ("422587007", "Nausea"),
];

/// CVX code, display, age in days when due.
pub(super) static VACCINES: [(&str, &str, i64); 12] = [
    ("19", "BCG", 1),
    ("08", "Hep B, adolescent or pediatric", 1),
    ("146", "DTaP-IPV-Hib-Hep B", 42),
    ("119", "rotavirus, monovalent", 45),
    ("133", "Pneumococcal conjugate PCV 13", 70),
    ("10", "IPV", 100),
    ("05", "measles", 275),
    ("37", "yellow fever", 280),
    ("03", "MMR", 480),
    ("101", "typhoid, ViCPs", 800),
    ("139", "Td(adult) unspecified formulation", 3900),
    ("212", "COVID-19 vaccine, vector-nr, rS-Ad26", 7000),
];

/// The last one is for women only.
pub(super) static PROCEDURES: [(&str, &str); 10] = [
    ("225358003", "Wound care"),
    ("274474001", "Bone immobilization"),
    ("80146002", "Excision of appendix"),
    ("288086009", "Suture open wound"),
    ("399208008", "Plain chest X-ray"),
    ("29303009", "Electrocardiographic procedure"),
    ("45211000", "Catheterization"),
    ("40701008", "Echocardiography"),
    ("16310003", "Diagnostic ultrasonography"),
    ("11466000", "Cesarean section"),
];

/// A medicine as it is prescribed: ATC, display, what for, doses with their written form, unit, route.
#[derive(Debug)]
pub(super) struct Medicine {
    pub(super) atc: &'static str,
    pub(super) display: &'static str,
    pub(super) treats: &'static Problem,
    pub(super) doses: &'static [&'static str],
    pub(super) unit: &'static str,
    pub(super) route: (&'static str, &'static str),
}

const ORAL: (&str, &str) = ("26643006", "Oral route");
const INHALED: (&str, &str) = ("447694001", "Respiratory tract route");
const INTRAVENOUS: (&str, &str) = ("47625008", "Intravenous route");
const SUBCUTANEOUS: (&str, &str) = ("34206005", "Subcutaneous route");

const fn medicine(
    atc: &'static str,
    display: &'static str,
    treats: &'static Problem,
    doses: &'static [&'static str],
    unit: &'static str,
    route: (&'static str, &'static str),
) -> Medicine {
    Medicine {
        atc,
        display,
        treats,
        doses,
        unit,
        route,
    }
}

pub(super) static MEDICINES: [Medicine; 22] = [
    medicine(
        "A10BA02",
        "Metformin",
        &PROBLEMS[1],
        &["500", "850", "1000"],
        "mg",
        ORAL,
    ),
    medicine(
        "C08CA01",
        "Amlodipine",
        &PROBLEMS[0],
        &["2.5", "5", "10"],
        "mg",
        ORAL,
    ),
    medicine(
        "N02BE01",
        "Paracetamol",
        &PROBLEMS[8],
        &["250", "500", "650"],
        "mg",
        ORAL,
    ),
    medicine(
        "J01CA04",
        "Amoxicillin",
        &PROBLEMS[7],
        &["250", "500"],
        "mg",
        ORAL,
    ),
    medicine(
        "R03AC02",
        "Salbutamol",
        &PROBLEMS[2],
        &["100", "200"],
        "ug",
        INHALED,
    ),
    medicine(
        "B03AA07",
        "Ferrous sulfate",
        &PROBLEMS[5],
        &["60", "100", "200"],
        "mg",
        ORAL,
    ),
    medicine(
        "P01BF01",
        "Artemether and lumefantrine",
        &PROBLEMS[3],
        &["1", "2", "4"],
        "{tbl}",
        ORAL,
    ),
    medicine(
        "J01EE01",
        "Sulfamethoxazole and trimethoprim",
        &PROBLEMS[9],
        &["480", "960"],
        "mg",
        ORAL,
    ),
    medicine(
        "C09AA02",
        "Enalapril",
        &PROBLEMS[0],
        &["2.5", "5.0", "10"],
        "mg",
        ORAL,
    ),
    medicine(
        "C03AA03",
        "Hydrochlorothiazide",
        &PROBLEMS[0],
        &["12.5", "25"],
        "mg",
        ORAL,
    ),
    medicine(
        "C10AA05",
        "Atorvastatin",
        &PROBLEMS[1],
        &["10", "20", "40"],
        "mg",
        ORAL,
    ),
    medicine(
        "A02BC01",
        "Omeprazole",
        &PROBLEMS[6],
        &["20", "40"],
        "mg",
        ORAL,
    ),
    medicine(
        "A10AE04",
        "Insulin glargine",
        &PROBLEMS[1],
        &["8", "12", "20"],
        "[iU]",
        SUBCUTANEOUS,
    ),
    medicine(
        "J01FA10",
        "Azithromycin",
        &PROBLEMS[15],
        &["250", "500"],
        "mg",
        ORAL,
    ),
    medicine(
        "N03AF01",
        "Carbamazepine",
        &PROBLEMS[11],
        &["100", "200"],
        "mg",
        ORAL,
    ),
    medicine(
        "H03AA01",
        "Levothyroxine sodium",
        &PROBLEMS[12],
        &["0.025", "0.050", "0.10"],
        "mg",
        ORAL,
    ),
    medicine(
        "J04AB02",
        "Rifampicin",
        &PROBLEMS[4],
        &["450", "600"],
        "mg",
        ORAL,
    ),
    medicine("J01AA02", "Doxycycline", &PROBLEMS[7], &["100"], "mg", ORAL),
    medicine(
        "B03BB01",
        "Folic acid",
        &PROBLEMS[13],
        &["0.40", "5"],
        "mg",
        ORAL,
    ),
    medicine(
        "H02AB06",
        "Prednisolone",
        &PROBLEMS[10],
        &["5", "20"],
        "mg",
        ORAL,
    ),
    medicine(
        "J01DD04",
        "Ceftriaxone",
        &PROBLEMS[15],
        &["1.0", "2.0"],
        "g",
        INTRAVENOUS,
    ),
    medicine(
        "L04AX03",
        "Methotrexate",
        &PROBLEMS[16],
        &["7.5", "10", "15"],
        "mg",
        ORAL,
    ),
];
