// SPDX-License-Identifier: Apache-2.0

package fat

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	shortBase   = 8   // characters before the dot of a short name
	shortExt    = 3   // characters after it
	longUnits   = 255 // UTF-16 units of a long name
	longPerSlot = 13  // UTF-16 units in one directory entry
	maxTail     = 999_999

	// legalShort are the characters that a short name may contain besides letters and digits
	// (fatgen, "FAT Directory Structure"), illegalLong those that a long name must not contain.
	legalShort  = "$%'-_@~`!(){}^#&"
	illegalLong = `"*/:<>?\|`
)

// shortName is a name of 8 characters, and 3 more after a dot that is not stored, padded with
// blanks.
type shortName [shortBase + shortExt]byte

// label is the name of a file system, in the form of a short name.
type label = shortName

var (
	blankName  = makeShort("", "")
	noLabel    = shortName([]byte("NO NAME    "))
	dotName    = makeShort(".", "")
	dotDotName = makeShort("..", "")
)

// isEmpty reports whether the label is that of a file system without a name.
func (n shortName) isEmpty() bool { return n == noLabel }

// makeShort returns a short name of two parts, which must fit.
func makeShort(base, ext string) shortName {
	return shortName([]byte(fmt.Sprintf("%-8s%-3s", base, ext)))
}

// encodeLabel converts the name of a file system. Lower case becomes upper case, as in mkfs.fat,
// for DOS.
func encodeLabel(text string) (label, error) {
	if text == "" {
		return noLabel, nil
	}
	upper := strings.ToUpper(text)
	if len(upper) > len(label{}) {
		return label{}, fmt.Errorf("FAT label %q is longer than %d characters", text, len(label{}))
	}
	for _, c := range []byte(upper) {
		if !isShort(c) && c != ' ' {
			return label{}, fmt.Errorf("FAT label %q: only letters, digits, blanks and %s are allowed", text,
				legalShort)
		}
	}
	if upper[0] == ' ' {
		return label{}, fmt.Errorf("FAT label %q begins with a blank", text)
	}
	return label([]byte(fmt.Sprintf("%-11s", upper))), nil
}

// isShort reports whether a short name may contain a character.
func isShort(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c < utf8.RuneSelf && strings.IndexByte(legalShort, c) >= 0
}

// checkName rejects the last part of a path if FAT cannot hold it.
func checkName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("the name is not UTF-8")
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f || strings.ContainsRune(illegalLong, c) {
			return fmt.Errorf("the name contains %q", c)
		}
	}
	if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return fmt.Errorf("the name ends in %q", name[len(name)-1:])
	}
	if n := len(utf16.Encode([]rune(name))); n > longUnits {
		return fmt.Errorf("the name is %d UTF-16 units long: the maximum on FAT is %d", n, longUnits)
	}
	return nil
}

// foldCase returns a key that is equal for names that FAT does not distinguish.
func foldCase(name string) string { return strings.Map(unicode.ToUpper, name) }

// exactShort returns the short name that is equal to a name in upper-case 8.3 form. Other names
// need a long name as well.
func exactShort(name string) (shortName, bool) {
	base, ext, dot := strings.Cut(name, ".")
	if base == "" || len(base) > shortBase || len(ext) > shortExt || dot && ext == "" {
		return blankName, false
	}
	for _, c := range []byte(base + ext) {
		if !isShort(c) {
			return blankName, false
		}
	}
	return makeShort(base, ext), true
}

// shortNames allocates short names in one directory.
type shortNames struct {
	taken map[shortName]bool
	tails map[string]int // last number, by the name before the tail
}

// forLong returns a short name for a long one by the rules of fatgen, "The Basis-Name Generation
// Algorithm" and "The Numeric-Tail Generation Algorithm". A tail such as ~1 makes it unique.
func (s *shortNames) forLong(name string) (shortName, error) {
	base, ext, same := basis(name)
	if short := makeShort(base, ext); same && !s.taken[short] {
		s.taken[short] = true
		return short, nil
	}
	for {
		tail := "~1"
		key := base + "." + ext
		if n := s.tails[key]; n > 0 {
			tail = fmt.Sprintf("~%d", n+1)
		}
		s.tails[key]++
		if s.tails[key] > maxTail {
			return blankName, fmt.Errorf("more than %d names in the directory have the same beginning", maxTail)
		}
		short := makeShort(base[:min(len(base), shortBase-len(tail))]+tail, ext)
		if !s.taken[short] {
			s.taken[short] = true
			return short, nil
		}
	}
}

// basis reduces a name to the characters of a short one. same reports whether only the case of
// letters was lost.
func basis(name string) (base, ext string, same bool) {
	trimmed := strings.TrimLeft(name, ".")
	unspaced := strings.ReplaceAll(trimmed, " ", "")
	same = unspaced == name
	long := unspaced
	if i := strings.LastIndexByte(unspaced, '.'); i >= 0 {
		long, ext = unspaced[:i], unspaced[i+1:]
	}
	base, baseSame := reduce(strings.ReplaceAll(long, ".", ""), shortBase)
	ext, extSame := reduce(ext, shortExt)
	return base, ext, same && baseSame && extSame && !strings.Contains(long, ".") && base != ""
}

// reduce converts letters to upper case and invalid characters to underscores, and truncates to a
// length.
func reduce(text string, length int) (reduced string, same bool) {
	same = true
	var b strings.Builder
	for _, c := range text {
		switch {
		case b.Len() == length:
			return b.String(), false
		case c >= 'a' && c <= 'z':
			b.WriteByte(byte(c) - 'a' + 'A')
		case c < utf8.RuneSelf && isShort(byte(c)):
			b.WriteByte(byte(c))
		default:
			b.WriteByte('_')
			same = false
		}
	}
	return b.String(), same
}

// checksum returns the checksum that links the entries of a long name to the short name after them
// (fatgen, "Checksum").
func (n shortName) checksum() byte {
	sum := byte(0)
	for _, c := range n {
		sum = (sum<<7 | sum>>1) + c
	}
	return sum
}
