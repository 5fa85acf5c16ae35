"""Small files in the exact layout in which the datasets are published, field for field.

Where a form was looked up, the function or constant names the place; the values are shortened or made up.
"""

import base64
import csv
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from tests.curate.make_images import encoded, shape, write
from tests.curate.sets import scene


def save(path, value, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, **options), encoding="utf-8")
    return path


def save_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def votes(*answers, confidence="yes"):
    return [
        {"answer": answer, "answer_confidence": confidence, "answer_id": number}
        for number, answer in enumerate(answers, start=1)
    ]


VQA_INFO = {
    "description": "This is v2.0 of the VQA dataset.",
    "url": "http://visualqa.org",
    "version": "2.0",
    "year": 2017,
    "contributor": "VQA Team",
    "date_created": "2017-04-26 17:07:13",
}
VQA_LICENSE = {
    "url": "http://creativecommons.org/licenses/by/4.0/",
    "name": "Creative Commons Attribution 4.0 International License",
}
VQA_QUESTIONS = [
    {"image_id": 262148, "question": "Where is he looking?", "question_id": 262148000},
    {"image_id": 262148, "question": "What are the people in the background doing?", "question_id": 262148001},
    {"image_id": 393225, "question": "What website copyrighted the image?", "question_id": 393225000},
]
VQA_VOTES = [
    votes("down", "down", "at table", "skateboard", "down", "table", "down", "down", "down", "down"),
    votes(*["spectating", "watching"] * 5),
    votes("foodiebakercom", "", "foodiebaker.com", *["foodiebakercom"] * 7, confidence="maybe"),
]
VQA_ANNOTATIONS = [
    {
        "question_type": "none of the above",
        "multiple_choice_answer": answers[0]["answer"],
        "answers": answers,
        "image_id": question["image_id"],
        "answer_type": "other",
        "question_id": question["question_id"],
    }
    for question, answers in zip(VQA_QUESTIONS, VQA_VOTES, strict=True)
]


def vqa_v2(folder, subtype="val2014", questions=VQA_QUESTIONS, annotations=VQA_ANNOTATIONS):
    """The two files of VQA v2; test splits have the first only."""
    common = {"info": VQA_INFO, "data_type": "mscoco", "data_subtype": subtype, "license": VQA_LICENSE}
    asked = folder / f"v2_OpenEnded_mscoco_{subtype}_questions.json"
    save(asked, {"info": VQA_INFO, "task_type": "Open-Ended", **common, "questions": questions})
    if annotations is not None:
        answered = {key: common[key] for key in ("info", "license", "data_subtype")}
        answered |= {"annotations": annotations, "data_type": "mscoco"}
        save(folder / f"v2_mscoco_{subtype}_annotations.json", answered)
    return asked


def ok_vqa(folder):
    """Fields of an annotation and its answers as the loaders of the published files declare them.

    ``lmms-lab`` and ``Multimodal-Fatima`` on the hub: ``answers`` of ``answer, raw_answer, answer_confidence,
    answer_id``, ``answer_type``, ``question_type`` and ``confidence``; ``question_types`` names the codes.
    """
    question = {"image_id": 297147, "question": "What sport can you use this for?", "question_id": 2971475}
    words = ["race"] * 4 + ["motocross"] * 2 + ["ride"] * 4
    annotation = {
        "image_id": 297147,
        "answer_type": "other",
        "question_type": "four",
        "question_id": 2971475,
        "answers": [
            {"answer_id": number, "raw_answer": f"{word}ing", "answer_confidence": "yes", "answer": word}
            for number, word in enumerate(words, start=1)
        ],
        "confidence": 3,
    }
    info = {"description": "This is Open-Ended VQA with outside knowledge.", "version": "1.0", "year": 2019}
    kinds = {"four": "Sports and Recreation"}
    save(
        folder / "mscoco_val2014_annotations.json",
        {
            "info": info,
            "license": VQA_LICENSE,
            "data_subtype": "val2014",
            "annotations": [annotation],
            "data_type": "mscoco",
            "question_types": kinds,
        },
    )
    return save(
        folder / "OpenEnded_mscoco_val2014_questions.json",
        {
            "info": info,
            "task_type": "Open-Ended",
            "data_type": "mscoco",
            "license": VQA_LICENSE,
            "data_subtype": "val2014",
            "questions": [question],
        },
    )


TEXTVQA_ROW = {
    "question": "what is the brand of this camera?",
    "image_id": "0054c91397f2fe05",
    "image_classes": ["Cassette deck", "Printer", "Medical equipment"],
    "flickr_original_url": "https://farm6.staticflickr.com/2891/9134076951_f65b421097_o.jpg",
    "flickr_300k_url": "https://c4.staticflickr.com/3/2891/9134076951_9f7e4a3dd7_z.jpg",
    "image_width": 1024,
    "image_height": 730,
    "answers": ["nous les gosses", "dakota", "clos culombu", *["dakota digital"] * 4, "dakota", "dakota", "dakota"],
    "question_tokens": ["what", "is", "the", "brand", "of", "this", "camera"],
    "question_id": 34602,
    "set_name": "val",
}
TEXTVQA_OCR = {
    "image_id": "0054c91397f2fe05",
    "ocr_tokens": ["DAKOTA", "DIGITAL", "SINGLE-USE"],
    "ocr_info": [
        {
            "word": "DAKOTA",
            "bounding_box": {
                "width": 0.25,
                "height": 0.03,
                "rotation": -8.9,
                "roll": 0,
                "pitch": 0,
                "yaw": 0,
                "top_left_x": 0.36,
                "top_left_y": 0.18,
            },
        }
    ],
}


def textvqa(folder, split="val", rows=(TEXTVQA_ROW,), ocr=(TEXTVQA_OCR,)):
    head = {"dataset_type": split, "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    if ocr is not None:
        save(
            folder / f"TextVQA_Rosetta_OCR_v0.2_{split}.json",
            {"dataset_type": split, "dataset_name": "textvqa", "dataset_version": "0.2", "data": list(ocr)},
        )
    return save(folder / f"TextVQA_0.5.1_{split}.json", {**head, "data": list(rows)})


VIZWIZ_ROW = {
    "image": "VizWiz_val_00000001.jpg",
    "question": "Can you tell me what this medicine is please?",
    "answers": [
        {"answer_confidence": confidence, "answer": answer}
        for confidence, answer in [
            ("no", "unanswerable"), ("yes", "night time"), ("maybe", "unanswerable"), ("yes", "night time"),
            ("maybe", "night time cold medicine"), ("maybe", "night time"), ("maybe", "night time medicine"),
            ("yes", "nighttime"), ("yes", "night time"), ("yes", "night time"),
        ]
    ],
    "answer_type": "other",
    "answerable": 1,
}  # fmt: skip


def vizwiz(folder, split="val", rows=(VIZWIZ_ROW,)):
    return save(folder / "Annotations" / f"{split}.json", list(rows))


# As a row of val_balanced_questions.json is quoted in the README of VQA-MHUG and AiR-D users, key by key in its order.
GQA_ROW = {
    "semantic": [
        {"operation": "select", "dependencies": [], "argument": "sky (2486325)"},
        {"operation": "verify color", "dependencies": [0], "argument": "dark"},
    ],
    "entailed": ["02930160", "02930158"],
    "equivalent": ["02930152"],
    "question": "Is the sky dark?",
    "imageId": "2354786",
    "isBalanced": True,
    "groups": {"global": None, "local": "06-sky_dark"},
    "answer": "yes",
    "semanticStr": "select: sky (2486325)->verify color: dark [0]",
    "annotations": {"answer": {}, "question": {"2": "2486325"}, "fullAnswer": {"2": "2486325"}},
    "types": {"detailed": "verifyAttrC", "semantic": "attr", "structural": "verify"},
    "fullAnswer": "Yes, the sky is dark.",
}


def gqa(folder, name="val_balanced_questions", rows=None):
    return save(folder / f"{name}.json", rows or {"02930152": GQA_ROW})


DOCVQA_ROW = {
    "questionId": 337,
    "question": "what is the date mentioned in this letter?",
    "question_types": ["handwritten", "form"],
    "image": "documents/xnbl0037_1.png",
    "docId": 279,
    "ucsf_document_id": "xnbl0037",
    "ucsf_document_page_no": "1",
    "answers": ["1/8/93"],
    "data_split": "val",
}
# The example in mmpretrain/datasets/infographic_vqa.py (open-mmlab/mmpretrain).
INFOGRAPHIC_ROW = {
    "questionId": 98313,
    "question": "Which social platform has heavy female audience?",
    "image_local_name": "37313.jpeg",
    "image_url": "https://example.org/social.png",
    "ocr_output_file": "37313.json",
    "answers": ["pinterest"],
    "data_split": "val",
}


def docvqa(folder, rows=(DOCVQA_ROW,), split="val"):
    head = {"dataset_name": "SP-DocVQA", "dataset_version": "1.0", "dataset_split": split}
    return save(folder / f"{split}_v1.0_withQT.json", {**head, "data": list(rows)})


def infographicvqa(folder, rows=(INFOGRAPHIC_ROW,)):
    head = {"dataset_name": "infographicVQA", "dataset_version": "1.0", "dataset_split": "val"}
    return save(folder / "infographicsVQA_val_v1.0_withQT.json", {**head, "data": list(rows)})


CHARTQA_HUMAN = {
    "imgname": "41699051005347.png",
    "query": "How many food item is shown in the bar graph?",
    "label": "14",
}
CHARTQA_AUGMENTED = {
    "imgname": "two_col_101020.png",
    "query": "How many stores did Saint Laurent operate in Western Europe in 2020?",
    "label": "47",
}


def chartqa(folder, split="val"):
    """The folder of a split, as ``ChartQA Dataset/`` has it."""
    save(folder / split / f"{split}_human.json", [CHARTQA_HUMAN], indent=2)
    save(folder / split / f"{split}_augmented.json", [CHARTQA_AUGMENTED], indent=2)
    return folder / split


# The README of lupantech/ScienceQA, "Download the Dataset"; `pid_splits.json` as its models/run_gpt3.py reads it.
SCIENCEQA = {
    "1": {
        "question": "Which of these states is farthest north?",
        "choices": ["West Virginia", "Louisiana", "Arizona", "Oklahoma"],
        "answer": 0,
        "hint": "",
        "image": "image.png",
        "task": "closed choice",
        "grade": "grade2",
        "subject": "social science",
        "topic": "geography",
        "category": "Geography",
        "skill": "Read a map: cardinal directions",
        "lecture": "Maps have four cardinal directions, or main directions.",
        "solution": "To find the answer, look at the compass rose.",
        "split": "train",
    },
    "2": {
        "question": "Identify the question that Tom and Justin's experiment can best answer.",
        "choices": ["Do ping pong balls stop rolling?", "Does the angle matter?"],
        "answer": 1,
        "hint": "The passage below describes an experiment.",
        "image": None,
        "task": "closed choice",
        "grade": "grade8",
        "subject": "natural science",
        "topic": "science-and-engineering-practices",
        "category": "Designing experiments",
        "skill": "Identify the experimental question",
        "lecture": "Experiments can be designed to answer specific questions.",
        "solution": "",
        "split": "val",
    },
}


def scienceqa(folder):
    lists = {
        "train": ["1"], "val": ["2"], "test": [], "trainval": ["1", "2"], "minitrain": ["1"], "minival": ["2"],
        "minitest": [],
    }  # fmt: skip
    save(folder / "pid_splits.json", lists)
    return save(folder / "problems.json", SCIENCEQA, indent=4)


def pope(folder, category="adversarial"):
    return save_lines(
        folder / f"coco_pope_{category}.json",
        [
            {
                "question_id": number,
                "image": "COCO_val2014_000000310196.jpg",
                "image_id": 310196,  # as in AoiDragon/POPE at 7ef3026
                "text": f"Is there a {thing} in the image?",
                "label": label,
            }
            for number, (thing, label) in enumerate([("snowboard", "yes"), ("car", "no")], start=1)
        ],
    )


def coco_image(number):
    """An entry of ``images``: the keys of https://cocodataset.org/#format-data, in the order of the published file."""
    name = f"COCO_val2014_{number:012}.jpg"
    return {"license": 3, "file_name": name, "coco_url": f"http://images.cocodataset.org/val2014/{name}",
            "height": 360, "width": 640, "date_captured": "2013-11-14 11:18:45", "flickr_url": "http://farm.x/1.jpg",
            "id": number}  # fmt: skip


def coco_captions(folder, images=None, annotations=None):
    whole = {
        "info": {"description": "COCO 2014 Dataset", "url": "http://cocodataset.org", "version": "1.0", "year": 2014,
                 "contributor": "COCO Consortium", "date_created": "2017/09/01"},
        "images": [coco_image(391895)] if images is None else images,
        "licenses": [{"url": "http://creativecommons.org/licenses/by-nc-sa/2.0/", "id": 1, "name": "A licence"}],
        "annotations": [{"image_id": 391895, "id": 770337, "caption": "A man with a red helmet on a small moped. "}]
        if annotations is None else annotations,
    }  # fmt: skip
    return save(folder / "annotations" / "captions_val2014.json", whole)


def flickr_tokens(folder):
    lines = "1000092795.jpg#0\tTwo young guys with shaggy hair .\n1000092795.jpg#1\tTwo young , White males .\n"
    return write(folder / "results_20130124.token", lines.encode())


def karpathy_flickr30k(folder):
    sentence = {"tokens": ["a", "dog"], "raw": "A dog.", "imgid": 0, "sentid": 0}
    image = {"sentids": [0], "imgid": 0, "sentences": [sentence], "split": "test", "filename": "1000092795.jpg"}
    return save(folder / "dataset_flickr30k.json", {"images": [image], "dataset": "flickr30k"})


def mme(folder):
    """Two categories: folders as playground/data/eval/MME/convert_answer_to_mme.py of haotian-liu/LLaVA walks them."""
    code, art = folder / "code_reasoning", folder / "artwork"
    write(code / "0001.png", shape())
    write(code / "0001.txt", b"Is a c++ code shown? Please answer yes or no.\tYes\nIs it python?\tNo\n")
    write(art / "images" / "10002.jpg", encoded(scene(1), "JPEG"))
    write(art / "questions_answers_YN" / "10002.txt", b"Does this artwork exist in water?\tNo\r\n")
    return folder


_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def mmmu_row(**changes):
    """The features of the dataset card of MMMU/MMMU; ``options`` and ``img_type`` are lists written as text."""
    images = {f"image_{number}": None for number in range(1, 8)}
    return {
        "id": "validation_Accounting_1", "question": "<image 1> Which is it, <image 2>?", "explanation": "",
        "options": "['$6', '<image 2>', \"it's\"]", **images,
        "image_1": {"bytes": encoded(scene(1), "JPEG"), "path": None},
        "image_2": {"bytes": encoded(scene(2)), "path": "2.png"}, "img_type": "['Tables']", "answer": "B",
        "topic_difficulty": "Medium", "question_type": "multiple-choice", "subfield": "Managerial Accounting",
        **changes,
    }  # fmt: skip


def mmmu(folder, rows=None, name="validation-00000-of-00001.parquet"):
    path = folder / "Accounting" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([(name, _IMAGE if name.startswith("image_") else pa.string()) for name in mmmu_row()])
    pq.write_table(pa.Table.from_pylist(rows or [mmmu_row()], schema), path)
    return folder


def refcoco(folder):
    """lmms-lab/RefCOCO: two expressions for one box."""
    row = {"question_id": "469306-0", "image": {"bytes": encoded(scene(1)), "path": "COCO_train2014_000000098304.jpg"},
           "question": "Please carefully observe the area circled in the image and come up with a caption for the area.",
           "answer": ["guy petting elephant", "foremost person"], "segmentation": [267.52, 510.59],
           "bbox": [53.8, 249.9, 213.7, 298.0], "iscrowd": 0, "file_name": "COCO_train2014_000000098304_0.jpg"}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row]), folder / "val-00000-of-00001.parquet")
    return folder / "val-00000-of-00001.parquet"


def vlmevalkit(folder):
    """MMBench_DEV_EN.tsv: a question, its first rotation without an image of its own, and one with two images."""
    first, second = (base64.b64encode(encoded(scene(seed))).decode() for seed in (1, 2))
    both = f"['{first}', '{second}']"
    rows = [
        ["241", "Which is it?", "", "a cat", "a dog", "", "", "B", "object_localization", first],
        ["1000241", "Which is it?", "", "a dog", "a cat", "", "", "A", "object_localization", "241"],
        ["252", "Which is colder?", "Ice is cold.", "ice", "tea", "air", "", "A", "physics", both],
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "MMBench_DEV_EN.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["index", "question", "hint", *"ABCD", "answer", "category", "image"])
        writer.writerows(rows)
    return folder / "MMBench_DEV_EN.tsv"


# docs/Finetune_Custom_Data.md of haotian-liu/LLaVA; rows of text alone have no `image`.
LLAVA_ROWS = [
    {
        "id": "000000033471",
        "image": "coco/train2017/000000033471.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat are the colors of the bus in the image?"},
            {"from": "gpt", "value": "The bus in the image is white and red."},
        ],
    },
    {
        "id": "wgByO4Y_0",
        "conversations": [{"from": "human", "value": "What is 2 + 2?"}, {"from": "gpt", "value": "4"}],
    },
]
# playground/data/coco2014_val_qa_eval/qa90_questions.jsonl and coco2014_val_gpt4_qa_30x3.jsonl of the same repository.
LLAVA_QUESTION = {
    "question_id": 0,
    "image": "000000441147.jpg",
    "text": "What color are the suitcases?",
    "category": "conv",
}
LLAVA_ANSWERED = {
    "id": "000000525439", "image": "COCO_val2014_000000525439.jpg", "instruction": "Where is the skateboard?",
    "output": "It lies upside down.", "type": "conv",
}  # fmt: skip
# docs/source_en/Customization/Custom-dataset.md of modelscope/ms-swift: "Multimodal", "Grounding", "DPO", "KTO".
MS_SWIFT_ROWS = [
    {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "<image>Find the <ref-object> in the image"},
            {"role": "assistant", "content": "<bbox><bbox>"},
        ],
        "images": ["x.jpg"],
        "objects": {"ref": ["sheep"], "bbox": [[90.9, 160.8, 135, 212.8], [360.9, 480.8, 495, 532.8]]},
    },
    {
        "messages": [
            {"role": "user", "content": "<image>What is this?"},
            {"role": "assistant", "content": "This is a kitten."},
        ],
        "images": ["kitten.png"],
        "rejected_response": "This is a puppy.",
    },
    {
        "messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "I don't know"}],
        "label": False,
    },
]


def chartqa_of_the_hub(folder):
    """The features of the dataset card of HuggingFaceM4/ChartQA, laid out as its repository is."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "query": datasets.Value("string"),
            "label": datasets.List(datasets.Value("string")),
            "human_or_machine": datasets.ClassLabel(names=["human", "machine"]),
        }
    )
    row = {"image": {"bytes": encoded(scene(1)), "path": None}, "query": "How many food items are shown?"}
    path = folder / "data" / "test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    datasets.Dataset.from_list([{**row, "label": ["14"], "human_or_machine": 0}], features=features).to_parquet(path)
    return folder
