// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"strings"
	"testing"
)

func TestParseSizeReadsDecimalAndBinaryUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"0": 0, "512": 512, "512b": 512, "512B": 512,
		"1k": KB, "1kb": KB, "1K": KB, "1KB": KB, "1ki": KiB, "1KiB": KiB, "1kib": KiB,
		"1m": MB, "100MiB": 100 * MiB, "100mib": 100 * MiB, "1G": GB, "1gb": GB, "1GiB": GiB, "2T": 2 * TB,
		"2Ti":  2 * TiB,
		"1.5G": 1500 * MB, "0.5KiB": 512, "1.0001k": 1000, "0.0005k": 0, ".5k": 500, "1.9": 1,
		" 20 MiB ": 20 * MiB, "0.1G": 100 * MB, "18446744073709551615": 1<<64 - 1,
		"16777215.9TiB": 18446743963758388838,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, uint64(got), err, uint64(want))
		}
	}
}

func TestParseSizeRejectsOtherText(t *testing.T) {
	t.Parallel()
	for text, part := range map[string]string{
		"": "no number", "  ": "no number", "junk": "not a number", "-1": "negative", "-1G": "negative",
		"G": "not a number", "b": "not a number", ".": "not a number", "1.2.3": "not a number", "1e3": "not a number",
		"+1": "not a number", "1_000": "not a number", "0x10": "not a number", "1/2": "not a number",
		"1 000": "not a number",
		"1P":    "not a number", "1kk": "not a number", "1bb": "not a number", "inf": "not a number",
		"١":                    "not a number",
		"18446744073709551616": "larger than", "16777216TiB": "larger than", "99999999999T": "larger than",
		strings.Repeat("9", 65): "longer than",
	} {
		got, err := ParseSize(text)
		if err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, uint64(got))
			continue
		}
		if !strings.Contains(err.Error(), part) {
			t.Errorf("ParseSize(%q): %v; want %q in it", text, err, part)
		}
		if len(text) <= maxSizeText && !strings.Contains(err.Error(), `"`+text+`"`) {
			t.Errorf("ParseSize(%q): %v; want the text quoted", text, err)
		}
	}
}

func TestSizePrintsShortestExactForm(t *testing.T) {
	t.Parallel()
	for size, want := range map[Size]string{
		0: "0", 1: "1", 123: "123", 512: "512", 1000: "1kB", 1023: "1023", 1024: "1KiB", 1025: "1025", 4096: "4KiB",
		512 * MiB: "512MiB", GB: "1GB", 2 * GiB: "2GiB", 1500 * MB: "1500MB", 128000: "128kB", TiB: "1TiB", 100: "100",
		1<<64 - 1: "18446744073709551615",
	} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d).String() = %q, want %q", uint64(size), got, want)
		}
	}
}

func TestSizeIsAFlagValueAndText(t *testing.T) {
	t.Parallel()
	var s Size
	if err := s.Set("20MiB"); err != nil || s != 20*MiB {
		t.Errorf("Set: got %v, %v", s, err)
	}
	if err := s.Set("junk"); err == nil || s != 20*MiB {
		t.Errorf("Set of junk: got %v, %v; want an error and the old value", s, err)
	}
	text, err := s.MarshalText()
	if err != nil || string(text) != "20MiB" {
		t.Errorf("MarshalText = %q, %v", text, err)
	}
	if err := s.UnmarshalText([]byte("1G")); err != nil || s != GB {
		t.Errorf("UnmarshalText: got %v, %v", s, err)
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{"0", "1G", "1.5GiB", "512b", "-1", "18446744073709551616", " 3 mib", "junk"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		again, err := ParseSize(size.String())
		if err != nil || again != size {
			t.Errorf("%q is %d and prints as %q, which is %d, %v", text, uint64(size), size, uint64(again), err)
		}
	})
}
