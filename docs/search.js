// The order of what the site's search finds, for who types what a screen says: headings of the runbook, other headings, pages by their words.
// Everything else is as in Sphinx.
var Scorer = {
  score: ([page, , , , score, , kind]) => {
    const runbook = page === "runbook";
    if (kind === "title") return score + (runbook ? 1000 : 100);
    return runbook && score >= Scorer.partialTitle ? score + 5 : score; // a word of a heading
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
