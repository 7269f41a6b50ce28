// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"encoding"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size uint64

// Powers of 1024 and of 1000.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40

	KB Size = 1e3
	MB Size = 1e6
	GB Size = 1e9
	TB Size = 1e12
)

var (
	_ encoding.TextMarshaler   = Size(0)
	_ encoding.TextUnmarshaler = (*Size)(nil)
)

// sizeUnits are the units of String. Of two results of the same length, the earlier one is
// returned.
var sizeUnits = []struct {
	name string
	size Size
}{
	{"TiB", TiB}, {"TB", TB}, {"GiB", GiB}, {"GB", GB}, {"MiB", MiB}, {"MB", MB}, {"KiB", KiB}, {"kB", KB},
}

// maxSizeText is the maximum length in bytes of an argument of ParseSize. It is far more than any
// exact size needs and limits the time that a hostile number takes.
const maxSizeText = 64

// ParseSize parses a size in the syntax of vmdebootstrap 1: a decimal number, optionally with a
// fraction, and a unit in upper or lower case: k, m, g and t are powers of 1000, ki, mi, gi and ti
// powers of 1024, each with an optional final b. A number without a unit is in bytes. Blanks around
// the text and before the unit are ignored. A fraction of a byte is cut off: "0.0005k" is 0.
//
// Text that vmdebootstrap 1.7 could not parse, and therefore took for 0, is an error here, as are
// negative numbers and those that need more than 64 bits.
func ParseSize(text string) (Size, error) {
	if len(text) > maxSizeText {
		return 0, fmt.Errorf("size %.16q...: longer than %d characters", text, maxSizeText)
	}
	number := strings.ToLower(strings.TrimSpace(text))
	if number == "" {
		return 0, fmt.Errorf("size %q: no number", text)
	}
	if number[0] == '-' {
		return 0, fmt.Errorf("size %q: negative", text)
	}
	number, unit := splitUnit(number)
	if !isDecimal(number) {
		return 0, fmt.Errorf("size %q: not a number with an optional unit (k, M, G, T, Ki, Mi, Gi, Ti)", text)
	}
	exact, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("size %q: not a number", text)
	}
	exact.Mul(exact, new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(unit))))
	whole := new(big.Int).Quo(exact.Num(), exact.Denom())
	if !whole.IsUint64() {
		return 0, fmt.Errorf("size %q: larger than %d bytes", text, uint64(math.MaxUint64))
	}
	return Size(whole.Uint64()), nil
}

// splitUnit splits a lower-case size into the number and the unit.
func splitUnit(text string) (number string, unit Size) {
	units := []struct {
		suffix string
		size   Size
	}{
		{"ki", KiB}, {"mi", MiB}, {"gi", GiB}, {"ti", TiB}, {"k", KB}, {"m", MB}, {"g", GB}, {"t", TB}, {"", 1},
	}
	text = strings.TrimSuffix(text, "b")
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			return strings.TrimRight(rest, " \t"), u.size
		}
	}
	return text, 1
}

// isDecimal reports whether text consists of digits with at most one point: no sign, exponent or
// underscore.
func isDecimal(text string) bool {
	whole, fraction, _ := strings.Cut(text, ".")
	digits := whole + fraction
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// String returns the shortest form that ParseSize parses as exactly the same size: "512MiB", "1GB",
// "123".
func (s Size) String() string {
	plain := strconv.FormatUint(uint64(s), 10)
	best := ""
	for _, u := range sizeUnits {
		if s == 0 || s%u.size != 0 {
			continue
		}
		if text := strconv.FormatUint(uint64(s/u.size), 10) + u.name; best == "" || len(text) < len(best) {
			best = text
		}
	}
	if best == "" || len(plain) < len(best) {
		return plain
	}
	return best
}

// Set calls ParseSize; it implements pflag.Value.
func (s *Size) Set(text string) error {
	size, err := ParseSize(text)
	if err != nil {
		return err
	}
	*s = size
	return nil
}

// Type returns the name of the value in help texts.
func (Size) Type() string { return "SIZE" }

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText calls ParseSize.
func (s *Size) UnmarshalText(text []byte) error { return s.Set(string(text)) }

// roundUp returns the next multiple of unit; ok is false if it overflows.
func (s Size) roundUp(unit Size) (rounded Size, ok bool) {
	rest := s % unit
	if rest == 0 {
		return s, true
	}
	rounded = s + (unit - rest)
	return rounded, rounded > s
}
