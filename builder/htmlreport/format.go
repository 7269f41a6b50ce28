// SPDX-License-Identifier: Apache-2.0

package htmlreport

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes a name of any bytes visible on one line: characters that are not to be seen, such as those that change
// the direction of the text, are written as \u202e, and bytes that are not UTF-8 as \xff.
func clean(name string) string { return visible(name, unicode.IsGraphic) }

// cleanText is clean for a text of several lines.
func cleanText(text string) string {
	return visible(text, func(r rune) bool { return unicode.IsGraphic(r) || r == '\n' || r == '\t' })
}

func visible(text string, shown func(rune) bool) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !shown(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case !shown(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// noBreak is between a number and its unit.
const noBreak = "\u00a0"

// formatSize returns a number of bytes in decimal units, as the program's other texts have them.
func formatSize(bytes uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	size, unit := float64(bytes), 0
	for size >= 999.5 && unit < len(units)-1 {
		size, unit = size/1000, unit+1
	}
	digits := 0
	if unit > 1 && size < 99.95 {
		digits = 1
	}
	if unit > 2 && size < 9.995 {
		digits = 2
	}
	return strconv.FormatFloat(size, 'f', digits, 64) + noBreak + units[unit]
}

// formatGrowth returns by how much something grew; empty if it did not.
func formatGrowth(before, after uint64) string {
	switch {
	case after > before:
		return "+" + formatSize(after-before)
	case after < before:
		return "−" + formatSize(before-after)
	}
	return ""
}

// formatShare returns a part of a whole in percent.
func formatShare(part, whole uint64) string {
	if whole == 0 {
		return ""
	}
	share := 100 * float64(part) / float64(whole)
	digits := 0
	if share < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(share, 'f', digits, 64) + noBreak + "%"
}

// formatSeconds returns a duration: "0.4 s", "12.3 s", "2 min 5 s".
func formatSeconds(seconds float64) string {
	const minute, hour = 60, 3600
	whole := int(math.Round(max(0, min(seconds, math.MaxInt32))))
	switch {
	case seconds < 99.95:
		return strconv.FormatFloat(max(0, seconds), 'f', 1, 64) + noBreak + "s"
	case whole < hour:
		return fmt.Sprintf("%d%smin %d%ss", whole/minute, noBreak, whole%minute, noBreak)
	}
	return fmt.Sprintf("%d%sh %d%smin", whole/hour, noBreak, whole%hour/minute, noBreak)
}

// formatCount returns a number with narrow spaces between thousands.
func formatCount(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// percent returns a share as a percentage with the precision of a tenth of a pixel, for attributes.
func percent(share float64) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		share = 0
	}
	return strconv.FormatFloat(math.Round(share*1e4)/1e2, 'f', -1, 64)
}
