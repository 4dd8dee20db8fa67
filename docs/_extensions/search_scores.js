// What the search shows first: a class or function of that name, then pages, then what only contains the name.
var Scorer = {
  objNameMatch: 20,
  objPartialMatch: -1,
  objPrio: { 0: 5, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  score: ([page, title, , description, score, , kind]) => {
    if (kind === "object" && /^Python (attribute|method|property)/.test(description)) return score - 14;
    if (/^Python module/.test(description)) score -= 2;
    if (kind === "object") return score - title.split(".").length; // allm.generate before allm.aio.generate
    if (kind === "text" && /^(reference|migrate)\//.test(page)) return score - 4; // guides come first
    return score;
  },
};

// Sphinx wants every word and counts none, so that a page about something is no better than one that mentions it. Here a
// page is better the more of the words it has, the more often, and the rarer they are (BM25). `Search.counts` has, for each
// page, how many words it has and how often each, by its stem (search_counts.py); `indexentries`, what it should be found by.
Search.performTermsSearch = (words, excluded) => {
  const BEST = 15; // points, as Sphinx gives for a title; an object of the name has more
  const IN_TITLE = 8, IN_ENTRY = 20; // occurrences that such a place counts for
  const PARTLY = 0.3; // of an occurrence inside another word
  const { docnames, filenames, titles, titleterms, indexentries } = Search._index;
  const stemmer = new Stemmer();
  const entries = Object.entries(indexentries)
    .map(([entry, places]) => [entry.split(/\W+/).map((word) => stemmer.stemWord(word)), places.map(([file]) => file)])
    .filter(([stems]) => stems.every((stem) => words.has(stem)));
  const isIn = (word, file) => [titleterms[word] ?? []].flat().includes(file);
  const isEntry = (word, file) => entries.some(([stems, files]) => stems.includes(word) && files.includes(file));
  const times = ({ stems, file }, word) =>
    (stems[word] ?? 0) + IN_TITLE * isIn(word, file) + IN_ENTRY * isEntry(word, file);
  const pages = docnames.map((name, file) => ({ file, score: 0, ...Search.counts[name] }));
  const average = pages.reduce((sum, page) => sum + page.length, 0) / pages.length;
  const known = new Set(pages.flatMap(({ stems }) => Object.keys(stems)));
  for (const word of words) {
    const alike = known.has(word) || word.length < 3 ? [] : [...known].filter((one) => one.includes(word));
    const often = pages.map((page) => Math.max(times(page, word), ...alike.map((one) => PARTLY * times(page, one))));
    if (!often.some(Boolean)) continue;
    const rarity = Math.log(1 + pages.length / often.filter(Boolean).length);
    pages.forEach((page, at) => (page.score += (rarity * often[at]) / (often[at] + 1 + 2 * (page.length / average))));
  }
  const fits = ({ score, file, stems }) => score && ![...excluded].some((word) => stems[word] || isIn(word, file));
  const results = pages.filter(fits);
  const best = Math.max(...results.map(({ score }) => score));
  return results.map(({ file, score }) =>
    [docnames[file], titles[file], "", null, (BEST * score) / best, filenames[file], SearchResultKind.text]);
};
