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

// Sphinx wants every word and counts none, so that a page about something is no better than one that mentions it. Here
// a page is better the more of the words it has, the more often, and the rarer they are (BM25, with a root so that one
// rare word does not decide alone), and so is its best section, where the result leads if it has all the words.
// `Search.counts` has how often each section has each word, by its stem, and `Search.synonyms` what the pages say for
// it, both from search_counts.py; `indexentries` is what finds a page for sure.
Search.performTermsSearch = (words, excluded) => {
  const BEST = 15; // points, as Sphinx gives for a title; an object of the name has more
  const IN_TITLE = 8, IN_LEAD = 12, IN_ENTRY = 20; // occurrences that such a place counts for
  const PARTLY = 0.3, SAME = 0.7; // of an occurrence of a word that looks alike, and of one that means the same
  const SECTION = 0.5; // of the points of a page's best section
  const { docnames, filenames, titles, titleterms, indexentries } = Search._index;
  const stemmer = new Stemmer();
  const stemsOf = (text) => splitQuery(text.toLowerCase()).map((word) => stemmer.stemWord(word));
  const entries = Object.entries(indexentries)
    .map(([entry, places]) => [stemsOf(entry), places.map(([file]) => file)])
    .filter(([stems]) => stems.every((stem) => words.has(stem)));
  const isEntry = (word, file) => entries.some(([stems, files]) => stems.includes(word) && files.includes(file));
  const isTitle = (word, file) => [titleterms[word] ?? []].flat().includes(file);
  const isLead = (word, file) => Search.counts[docnames[file]].lead.includes(word);

  const sections = docnames.flatMap((name, file) =>
    Search.counts[name].sections.map(([anchor, title, counts]) =>
      ({ file, anchor, title, inTitle: new Set(stemsOf(title)), stems: new Map(Object.entries(counts)) })));
  const pages = docnames.map((_, file) => ({ file, stems: new Map() }));
  for (const { file, stems } of sections) {
    const sum = pages[file].stems;
    for (const [stem, count] of stems) sum.set(stem, (sum.get(stem) ?? 0) + count);
  }
  const known = [...new Set(pages.flatMap(({ stems }) => [...stems.keys()]))];

  // Words like one that no page has: those that contain it, or are one letter away from it, or are contained in it.
  const withoutOne = (word) => [word, ...[...word].map((_, at) => word.slice(0, at) + word.slice(at + 1))];
  const alike = (word) => {
    if (known.includes(word) || word.length < 3) return [];
    const longer = known.filter((one) => one.includes(word));
    if (longer.length || word.length < 5) return longer;
    const cut = new Set(withoutOne(word));
    const near = known.filter((one) => withoutOne(one).some((each) => cut.has(each)));
    return near.length ? near : known.filter((one) => one.length > 3 && word.includes(one));
  };
  const synonyms = new Map(Object.entries(Search.synonyms));
  const wanted = [...words].map((word) => [
    [word, 1],
    ...(synonyms.get(word) ?? []).map((one) => [one, SAME]),
    ...alike(word).map((one) => [one, PARTLY]),
  ]);

  const rank = (texts, times) => {
    for (const text of texts) {
      text.score = text.found = 0;
      text.length = [...text.stems.values()].reduce((sum, count) => sum + count, 0);
    }
    const average = texts.reduce((sum, { length }) => sum + length, 0) / texts.length;
    for (const meant of wanted) {
      const often = texts.map((text) => Math.max(...meant.map(([word, weight]) => weight * times(text, word))));
      const having = often.filter(Boolean).length;
      const rarity = Math.sqrt(Math.log(1 + (texts.length - having + 0.5) / (having + 0.5)));
      texts.forEach((text, at) => {
        text.score += (rarity * often[at]) / (often[at] + 3 + 5 * (text.length / average));
        text.found += often[at] > 0;
      });
    }
  };
  rank(sections, ({ stems, inTitle }, word) => (stems.get(word) ?? 0) + IN_TITLE * inTitle.has(word));
  rank(pages, ({ stems, file }, word) => (stems.get(word) ?? 0) +
    IN_TITLE * isTitle(word, file) + IN_LEAD * isLead(word, file) + IN_ENTRY * isEntry(word, file));
  const best = [];
  for (const section of sections) if (!(section.score <= best[section.file]?.score)) best[section.file] = section;

  const isLeftOut = ({ stems, file }) => [...excluded].some((word) => stems.has(word) || isTitle(word, file));
  const total = ({ score, file }) => score + SECTION * best[file].score;
  const results = pages.filter((page) => page.score && !isLeftOut(page));
  const most = Math.max(...results.map(total));
  return results.map((page) => {
    const { anchor, title, found } = best[page.file];
    const place = found < page.found ? "" : anchor; // a section that has some of the words only may be about another thing
    return [docnames[page.file], place ? `${titles[page.file]} > ${title}` : titles[page.file], place, null,
      (BEST * total(page)) / most, filenames[page.file], SearchResultKind.text];
  });
};

// A page comes once, with its best place; classes and functions come beside it.
Search._performSearch = ((perform) => (...query) => {
  const seen = new Set();
  const isFirst = ([page, , , , , , kind]) => kind === "object" || (!seen.has(page) && seen.add(page));
  return perform(...query).reverse().filter(isFirst).reverse();
})(Search._performSearch);

// Sphinx leaves out a status such as 429, and finds a name such as max_tokens as a whole only. Words that any question
// may have do not count, if there are others.
Search._parseQuery = ((parse) => (query) => {
  const ANY = // stems
    /^(can|check|get|give|go|let|make|mean|need|number|possibl|see|thing|tri|use|want|way|without|work)$/;
  const [text, words, ...rest] = parse(query.includes("_") ? `${query} ${query.replaceAll("_", " ")}` : query);
  const statuses = splitQuery(query).filter((word) => /^[345]\d\d$/.test(word));
  const telling = [...words, ...statuses].filter((word) => !ANY.test(word));
  return [query, telling.length ? new Set(telling) : words, ...rest];
})(Search._parseQuery);
