// A text that is too long is not sent: the service would refuse it unread, and all that was typed would be lost.

const text = document.getElementById("durations");
const longest = Number(text.dataset.longest);

function check() {
  const size = 3 * text.value.length > longest ? new TextEncoder().encode(text.value).length : 0;
  const [found, most] = [size, longest].map((bytes) => bytes.toLocaleString("en"));
  text.setCustomValidity(size > longest
    ? `The text has ${found} bytes; a text of at most ${most} fits. Save the durations as a file and use the command, which reads any length.`
    : "");
}

text.addEventListener("input", check);
check();
