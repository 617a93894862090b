// Comes last.  Without the script the page is whole.

wholePage();
if (document.getElementById("board")) {
  answer(document.getElementById("answer"));
  leaderboard(document.getElementById("board"), document.getElementById("controls"));
}
plot(document.getElementById("plot"));
marks(document.getElementById("tip"));
comparison(document.getElementById("compare"));
window.addEventListener("hashchange", restore);
restore();
