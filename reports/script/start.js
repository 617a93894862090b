// Comes last.  Without the script the page is whole.

if (document.getElementById("board")) leaderboard(document.getElementById("board"), document.getElementById("controls"));
marks(document.getElementById("tip"));
