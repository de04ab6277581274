"""The words by which tasks are told apart, with their weights; lower case, English and Chinese."""

SUMMARY, CLASSIFICATION, CODE = "summary", "classification", "code"
REASONING, QUESTION, WRITING = "reasoning", "question", "writing"
# Where two are equally likely, the earlier is the one that a weak model does worse.
CLASSES = (CODE, REASONING, CLASSIFICATION, SUMMARY, WRITING, QUESTION)

_WORDS_OF = {
    SUMMARY: {
        7: "summarize summarise summarizing summarising summary summaries tldr condense condensed recap gist digest "
        "takeaways abstract distil distill synopsis compress",
        4: "overview shorten highlights minutes essentials nutshell conclusions conclusion",
        2: "brief briefly short shorter highlight bullet key points notes",
    },
    CLASSIFICATION: {
        7: "classify classification categorize categorise sentiment spam toxicity toxic label labels labelled intent "
        "bucket cluster phishing",
        4: "tag tags category categories detect entities neutral legitimate group flag urgent urgency offensive "
        "sarcastic department",
        2: "identify determine predict assign mark rate sort positive negative formal informal options opinion pick "
        "emotion priority star ticket tickets headline review reviews fit belongs type",
    },
    CODE: {
        7: "python javascript typescript sql java golang rust kotlin swift ruby regex dockerfile makefile kubernetes "
        "k8s pytest junit jest refactor npm yarn pip maven gradle cargo cmake graphql css html bash powershell php "
        "django flask rails laravel spring react vue angular svelte node nodejs express fastapi mysql postgres "
        "postgresql sqlite mongodb redis nginx terraform ansible webpack kubectl numpy pandas pytorch tensorflow "
        "async await c++ c# segfault tailwind jquery selenium github",
        4: "code coding function functions bug compile compiler exception git algorithm api endpoint docker snippet "
        "linux script debug backend frontend stacktrace traceback json yaml xml csv component codebase decorator "
        "comprehension lambda closure middleware webhook websocket crontab cron ssh commit rebase struct enum "
        "boolean nullpointerexception regexes",
        2: "implement class method array string query loop variable error errors diff test tests parse parser schema "
        "thread threads cache install repository library deploy branch merge server database dict tuple pointer "
        "recursion recursive undefined null object program",
    },
    REASONING: {
        7: "prove proof solve derive theorem probability integral derivative differentiate equation equations riddle "
        "simplify factorise factorize odds induction",
        4: "calculate compute logic logical puzzle sequence deduce infer truth valid evaluate weighings percent "
        "percentage ratio average median perimeter triangle polynomial",
        2: "reason reasoning steps therefore each twice cheaper margin show optimal knights liar remainder sum",
    },
    WRITING: {
        7: "draft compose rewrite rephrase reword paraphrase proofread translate translation essay poem haiku slogan "
        "lyrics limerick sonnet invent caption toast eulogy",
        4: "story letter blog speech post email novel tweet title titles ideas paragraph description sentence "
        "professional friendlier press cover product headlines tagline names brainstorm invitation greeting article "
        "monologue dialogue expand birthday wedding newsletter bio",
        3: "write",
        2: "improve describe create continue tone language make ad style name message reply respond polite apologize "
        "apology english french german spanish",
    },
}
_PHRASES_OF = (
    (SUMMARY, 8, "tl;dr|in a nutshell|short version|sum up|main point|key point|main idea|most important|boil this"),
    (SUMMARY, 8, "boil it|cliff notes|cliffnotes|long story short|in a minute|in brief"),
    (SUMMARY, 4, "under 100 words|one sentence|three bullet|a few sentences|two sentences"),
    (CLASSIFICATION, 7, "yes or no|true or false|which category|which department|which team|which class|which label"),
    (CLASSIFICATION, 7, "or neutral|one of the following|hate speech|or not spam|by topic|what kind of|what type of"),
    (CLASSIFICATION, 6, "what language|which language|an opinion|formal or informal|from the list|best label|into two"),
    (CODE, 6, "select * from|traceback|pull request|unit test|stack trace|public class|command line"),
    (REASONING, 8, "step by step|many ways|who tells the|next number|show your|show that|think carefully|what day"),
    (REASONING, 4, "how much does|how much is|solve for|at once|are all |better deal|explain your|who owns|at least"),
    (WRITING, 6, "cover letter|blog post|press release|short story|write a letter|style of|come up with|plain english"),
    (WRITING, 6, "put this in|reply to|respond to|sound more"),
)
# Looked for only where there is a sign that prose has little use for.
_SYMBOLS_OF = (
    (CODE, 9, "```|def |();|=> |</|console.log|print(|@app.|import |#include"),
    (CODE, 5, "error:|throws|return |) {|fatal: | --|]) |{ |==|::|->"),
    (CLASSIFICATION, 7, "one of {"),
)
_CHINESE_OF = (
    (
        SUMMARY,
        9,
        "总结|概括|摘要|归纳|要点|提炼|缩写|简述|讲了什么|梗概|核心|主要内容|主要观点|压缩|概述|精简|小结|几句话|结论",
    ),
    (
        CLASSIFICATION,
        9,
        "分类|归类|情感|标签|垃圾邮件|类别|意图|语种|正面|负面|属于|识别|判断|好评|差评|分组|哪一类|哪类|是否",
    ),
    (
        CODE,
        10,
        "代码|函数|报错|脚本|正则|编程|算法|接口|数据库|调试|编译|单元测试|程序|线程|端口|变量|循环|服务器|部署",
    ),
    (
        REASONING,
        9,
        "证明|求解|方程|推导|推理|概率|计算|等差|等比|求前|几小时|各几只|真话|一步一步|几何|积分|还剩|分之|平均",
    ),
    (REASONING, 9, "面积|体积|余数|速度|相距|打折|利润|几种|至少|最后价格|逻辑"),
    (
        WRITING,
        8,
        "写一|写封|写首|写篇|写个|翻译|译成|润色|改写|改得|作文|文案|诗|祝福|辞职信|策划书|起个|取个|名字|续写",
    ),
    (WRITING, 8, "故事|标题|扩写|朋友圈|广告语|演讲|邀请函|口号|歌词|情书|散文|描述，"),
    (QUESTION, 3, "是什么|为什么|怎么|哪里|哪条|谁|多久|多少|吗|几点|什么|推荐|几号|如何"),
)
_ASKING = (
    "what what's who whom whose when where why how which is are can could do does did should will would explain define "
    "tell recommend suggest hello hi hey"
)

Phrases = tuple[tuple[str, int, int], ...]


def _phrases(lists: tuple[tuple[str, int, str], ...]) -> Phrases:
    return tuple(
        (phrase, CLASSES.index(name), weight) for name, weight, listed in lists for phrase in listed.split("|")
    )


def _words() -> dict[bytes, tuple[tuple[tuple[int, int], ...], Phrases]]:
    """Return for each word its classes with their weights, and the phrases that begin with it."""
    weights: dict[bytes, list[tuple[int, int]]] = {}
    beginnings: dict[bytes, list[tuple[str, int, int]]] = {}
    for index, name in enumerate(CLASSES):
        for weight, listed in _WORDS_OF.get(name, {}).items():
            for word in listed.split():
                weights.setdefault(word.encode(), []).append((index, weight))
    for phrase in _phrases(_PHRASES_OF):
        beginnings.setdefault(phrase[0].replace(";", " ").split()[0].encode(), []).append(phrase)
    return {
        word: (tuple(weights.get(word, ())), tuple(beginnings.get(word, ()))) for word in weights.keys() | beginnings
    }


WORDS = _words()
SYMBOLS, CHINESE = _phrases(_SYMBOLS_OF), _phrases(_CHINESE_OF)
ASKING = frozenset(_ASKING.encode().split())
