// What the search shows first: a class or function of that name, then pages, then what only contains the name.
var Scorer = {
  objNameMatch: 20,
  objPartialMatch: -1,
  objPrio: { 0: 5, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, title, , description, score, , kind]) => {
    if (kind === "object" && /^Python (attribute|method|property)/.test(description)) return score - 14;
    if (/^Python module/.test(description)) score -= 2;
    if (kind === "object") return score - title.split(".").length; // allm.generate before allm.aio.generate
    if (kind === "text" && /^(reference|migrate)\//.test(page)) return score - 4; // guides come first
    return score;
  },
};
