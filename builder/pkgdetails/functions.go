// SPDX-License-Identifier: Apache-2.0

package pkgdetails

import (
	_ "embed"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/shellfunction"
)

// FunctionsPath is the file of debootstrap's functions in the toolbox.
const FunctionsPath = "/usr/share/debootstrap/functions"

// Extract is the base name of the program that extracts packages in the place of dpkg-deb and tar, see extract in
// functions.sh, and ExtractPath is where it must be in the toolbox.
const (
	Extract     = "extract-packages"
	ExtractPath = "/usr/lib/debootstrap/" + Extract
)

// functionsText has the functions, each under a line with its name and the names of those whose work it does, too.
//
//go:embed functions.sh
var functionsText string

// known are the digests of functions of debootstrap whose meaning those of functions.sh have: SHA-256 of the text from
// the name to the last brace. The releases are 1.0.123 (bullseye), 1.0.128 (bookworm), 1.0.141 (trixie) and 1.0.145
// (forky).
var known = map[string]map[string]bool{
	"smallyes": {
		"0c3de9b3b9bcc676a463671757cf2ebc6d3784a3eabc3f511ea7c164783f60fd": true, // since 1.0.123
	},
	"apt_dest": {
		"44746580f300e010b17bc8337b4ec466bd50ebbb24348dcdc0f533d6d010e182": true, // since 1.0.123
	},
	"get": {
		"cc9f788bd62022a3f43e411d7b247efeb18e3ab9fa73207a631f492efe3f0f9a": true, // since 1.0.123
		"3db1e789c872f807f8d60205f61e7b0a0130c78b94a570d84db0a59853c001ea": true, // since 1.0.128
		"6d81e822447ebb64314eab54c8d1a0e51cfffd700e5a3543ee78aaeb5a11f666": true, // since 1.0.141
	},
	"verify_checksum": {
		"87f745c5b4bd9e326985df1588326050bd1b6d9381dd3969c6a1d216d4ec7c9e": true, // since 1.0.123
		"1f8950ad003be04b2e7eb13733cfab10c8eebeb1e55a9c75c16f71291102521b": true, // since 1.0.141
	},
	"download_debs": {
		"dba84d8a04e5fdad200e7ab0bb36345a1c73d5dc967890f679c23c5af04f4e31": true, // since 1.0.123
		"f64aea6862f9d7546fae681ba49a6c679c4eef25a722d3965d056ba0555d74b9": true, // since 1.0.141
	},
	"resolve_deps": {
		"db425db689952ad88d089fa4aef175aa0cd134f254ab74a64caabaddc2f7a8e2": true, // since 1.0.123
		"7b100919f3b0a06c9e68dd285c4591a5ef369a2f37208fe6b22bd5e6039a7c31": true, // since 1.0.128
		"4684e223658887e98bd59e99910cb2ba376a7f7157b1cd6541cd11a17d18b9df": true, // since 1.0.141
		"93882ad526ff64d9d39faba16aa969821c3da24f951190b20f86a00cded0c685": true, // since 1.0.145
	},
	"get_release_checksum": {
		"e1cf5f9c40c0352be1dfba151574cbfbda8abf10f0254b3810b70da9e15de09f": true, // since 1.0.123
		"d4c70197235402d8edeed60965ceef35a5622cf6bd82ae684df8e49acb49e27c": true, // since 1.0.141
	},
	"debfor": {
		"0a30c505629b397ff0eb98f90c6e6718731c4fbe5c2092348e0b35aba551ca78": true, // since 1.0.123
		"a46ebe891e1332626e42a81fabdf2a3427c44d75eacc00ad16380d15228a1845": true, // since 1.0.141
	},
	"extract_dpkg_deb_data": {
		"412a5a49f04e74aca77328050fc6c39b1fc4e860b2191815ad2bc1a2deeec00a": true, // since 1.0.123
		"619d6a8cdf6de94538157926a21e044f6bbb9d5942c4f6797539219fa79d4f1c": true, // since 1.0.141
	},
	"extract": {
		"813262f32018fdeb2b0603fdf2c1f15d1b805215d31daca3999dc86402f3d39b": true, // since 1.0.123
		"7a2200154a70a55116e597cb72fe88f059f13f175522ba2433f488fe836bfdeb": true, // since 1.0.128
		"64afab341c0749bfb32b752e382c3ed253194718273b2a7d78a325d3c64e5351": true, // since 1.0.141
	},
	"without": {
		"61966c09f5e3bb5978860af2fd25986f72eafd88ea64c8d69c4098f983ad87cd": true, // since 1.0.123
	},
}

// architectures are the lists of architectures in resolve_deps, by the digest of that function.
var architectures = map[string]string{
	"db425db689952ad88d089fa4aef175aa0cd134f254ab74a64caabaddc2f7a8e2": `$ARCH`,
	"7b100919f3b0a06c9e68dd285c4591a5ef369a2f37208fe6b22bd5e6039a7c31": `$ARCH`,
	"4684e223658887e98bd59e99910cb2ba376a7f7157b1cd6541cd11a17d18b9df": `$([ $ARCH_ALL_SUPPORTED -ne 1 ] || echo all) $ARCH`,
	"93882ad526ff64d9d39faba16aa969821c3da24f951190b20f86a00cded0c685": `$(all_if_supported_in_suite "$s") $ARCH`,
}

// Functions returns the text of debootstrap's file of functions with some of them replaced, as far as it knows the
// functions that are there, and the names of those that it has replaced. The others stay what they are.
func Functions(text string) (changed string, replaced []string) {
	var added strings.Builder
	for part := range strings.SplitSeq(functionsText, "\n#: ") {
		heading, body, _ := strings.Cut(part, "\n")
		names := strings.Fields(heading)
		if heading == "" || strings.HasPrefix(heading, "# ") {
			continue
		}
		digest := ""
		for _, name := range names {
			d := shellfunction.Digest(text, name)
			if !known[name][d] {
				digest = ""
				break
			}
			if digest == "" {
				digest = d
			}
		}
		if digest == "" {
			continue
		}
		name := names[0]
		body = strings.NewReplacer("@ARCHITECTURES@", architectures[digest], "@EXTRACT@", ExtractPath).Replace(body)
		if strings.Contains(body, "debootstrap_"+name) {
			text = shellfunction.Rename(text, name, "debootstrap_"+name)
		}
		added.WriteString("\n" + body)
		replaced = append(replaced, name)
	}
	return text + added.String(), replaced
}
