// SPDX-License-Identifier: Apache-2.0

package stepversion

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// root is the directory of the repository.
const root = "../../.."

const module = "github.com/vmdebootstrap/vmdebootstrap/"

// withoutResult are packages that counted files import but that decide no result of a step.
var withoutResult = []string{
	"builder/internal/boot",          // the steps of boot loaders are those of package step; writes boot code to images
	"builder/internal/containerfile", // ends in the data of the steps
	"builder/internal/filesystem",    // file systems of images
	"builder/internal/problem",       // messages about options
	"builder/internal/transport",     // prefixes of locations
	"builder/manifest",               // what is written about the result
	"builder/progress",
	"builder/suggest",
	"diskimage/bmap",
	"diskimage/format",
	"diskimage/formatters",
	"diskimage/imagetree",         // reads disk images, for assemble
	"diskimage/internal/rawimage", // data of image files
	"diskimage/iso9660",           // lays media out
	"diskimage/luks",              // encrypts file systems of images
	"diskimage/uki",               // makes and signs kernel images of images
	"diskimage/verity",            // makes hash trees of images
}

// repository returns the sources that the program has, by their names in the repository: what the patterns of the files
// sourcecode.go match.
var repository = sync.OnceValues(func() (fstest.MapFS, error) {
	sources := fstest.MapFS{}
	for _, dir := range []string{"builder", "diskimage", "hooks", "oci"} {
		text, err := os.ReadFile(filepath.Join(root, dir, "sourcecode.go"))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			patterns, _ := strings.CutPrefix(line, "//go:embed ")
			if patterns == line {
				continue
			}
			for pattern := range strings.FieldsSeq(patterns) {
				if err := embed(sources, dir, pattern); err != nil {
					return nil, err
				}
			}
		}
	}
	return sources, nil
})

// embed adds the files that a pattern of a directory matches, with those below a directory.
func embed(sources fstest.MapFS, dir, pattern string) error {
	names, err := filepath.Glob(filepath.Join(root, dir, pattern))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s/sourcecode.go: nothing matches %s", dir, pattern)
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		err := filepath.WalkDir(name, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			name, err = filepath.Rel(root, name)
			sources[name] = &fstest.MapFile{Data: text}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sourcesOf is repository for a test.
func sourcesOf(t *testing.T) fstest.MapFS {
	t.Helper()
	sources, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// newVersions returns the versions of sources.
func newVersions(t *testing.T, sources fstest.MapFS, library string) Versions {
	t.Helper()
	dirs := map[string]fs.FS{}
	for _, dir := range []string{"builder", "diskimage", "hooks", "oci"} {
		sub, err := fs.Sub(sources, dir)
		if err != nil {
			t.Fatal(err)
		}
		dirs[dir] = sub
	}
	v, err := New(dirs, []string{library})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// versionsWith returns the versions of the sources with another text of one file, as far as that is among them.
func versionsWith(t *testing.T, name, text string) Versions {
	t.Helper()
	sources := maps.Clone(sourcesOf(t))
	if beside, err := fs.Glob(sources, path.Dir(name)+"/*.go"); err != nil || len(beside) > 0 {
		sources[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return newVersions(t, sources, "go1")
}

func TestVersionsChangeWithTheCodeOfTheStep(t *testing.T) {
	t.Parallel()
	before := versionsWith(t, "README.md", "")
	kinds := allKinds(t)
	for _, tt := range []struct {
		file    string
		changed []string // kinds
	}{
		{"cmd/vmdebootstrap/build.go", nil},
		{"diskimage/ext/writer.go", nil},
		{"diskimage/write.go", nil},
		{"builder/image.go", nil},
		{"builder/rules_new.go", nil},
		{"builder/internal/step/debootstrap_test.go", nil},
		{"builder/internal/step/tools.go", nil},
		{"builder/internal/step/accounts.go", []string{"root.password", "user"}},
		{"builder/internal/step/clean.go", []string{"clean"}},
		{"builder/internal/step/hook.go", []string{"hook"}},
		{"builder/internal/step/apt.go", aptKinds},
		{"builder/internal/step/debootstrap.go", kinds},
		{"builder/internal/step/new.go", kinds},
		{"builder/executor.go", kinds},
		{"builder/internal/target/target.go", kinds},
		{"builder/dpkg/new.go", kinds},
		{"diskimage/dirtree.go", kinds},
		{"hooks/customise.lib", kinds},
		{"oci/internal/run/mount.go", kinds},
	} {
		after := versionsWith(t, tt.file, "// another text\n")
		for _, kind := range kinds {
			if got, want := before.Of(kind) != after.Of(kind), slices.Contains(tt.changed, kind); got != want {
				t.Errorf("a change of %s changes %s: %v, want %v", tt.file, kind, got, want)
			}
		}
	}
	other := newVersions(t, sourcesOf(t), "go2")
	if before.Of("hook") == other.Of("hook") {
		t.Error("another Go changes nothing")
	}
}

// Steps use no file that their version leaves out.
func TestOwnFilesAreUsedByTheirKindsOnly(t *testing.T) {
	t.Parallel()
	files := stepFiles(t)
	for name, kinds := range ownFiles {
		file := files[name]
		if file == nil {
			t.Errorf("%s does not exist", name)
			continue
		}
		for _, kind := range kindsIn(file) {
			if !slices.Contains(kinds, kind) {
				t.Errorf("%s has the step %s, which is not in its list", name, kind)
			}
		}
		for other, user := range files {
			users, own := ownFiles[other]
			if own && subset(users, kinds) && users != nil || other == name {
				continue
			}
			if used := uses(user, file); len(used) > 0 {
				t.Errorf("%s is of %v only, but %s of %v uses %v", name, kinds, other, users, used)
			}
		}
	}
}

// Nor does the code that runs them: of own files, it uses types and constants, which are data of steps.
func TestOwnFilesAreNotUsedByTheCodeThatRunsSteps(t *testing.T) {
	t.Parallel()
	functions := map[string]string{}
	for name, file := range stepFiles(t) {
		if _, own := ownFiles[name]; own {
			for _, f := range functionsAndVariables(file) {
				functions[f] = name
			}
		}
	}
	delete(functions, "ParseUser") // makes data of a step from an option
	forEachCounted(t, func(name string, file *ast.File) {
		if path.Dir(name) == StepDir {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "step" && functions[s.Sel.Name] != "" {
					t.Errorf("%s uses step.%s of %s", name, s.Sel.Name, functions[s.Sel.Name])
				}
			}
			return true
		})
	})
}

// The sources are complete: files that count are in the program, with the packages that they import and the files that
// these embed.
func TestSourcesAreComplete(t *testing.T) {
	t.Parallel()
	dirs := map[string]bool{}
	forEachCounted(t, func(name string, file *ast.File) {
		dirs[path.Dir(name)] = true
		for _, i := range file.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			short, ours := strings.CutPrefix(imported, module)
			if !ours || slices.Contains(withoutResult, short) {
				continue
			}
			if _, err := fs.Stat(sourcesOf(t), short); err != nil {
				t.Errorf("%s imports %s: add that to Sources, or to withoutResult if it decides no step's result", name, short)
			}
		}
		for _, group := range file.Comments {
			for _, comment := range group.List {
				patterns, ok := strings.CutPrefix(comment.Text, "//go:embed ")
				for pattern := range strings.FieldsSeq(patterns) {
					if found, err := fs.Glob(sourcesOf(t), path.Join(path.Dir(name), pattern)); ok &&
						(err != nil || len(found) == 0) {
						t.Errorf("%s embeds %s, which is not among the sources", name, pattern)
					}
				}
			}
		}
	})
	for dir := range dirs {
		names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, name := range names {
			name = path.Join(dir, filepath.Base(name))
			if _, err := fs.Stat(sourcesOf(t), name); err != nil && dir != "diskimage/syslinux" && counts(name) {
				t.Errorf("%s is not among the sources", name)
			}
		}
	}
	for _, pattern := range notCounted {
		if found, err := filepath.Glob(filepath.Join(root, pattern)); err != nil || len(found) == 0 {
			t.Errorf("%s matches no file: %v", pattern, err)
		}
	}
	for _, name := range withoutResult {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
}

// forEachCounted calls do for each Go file that counts.
func forEachCounted(t *testing.T, do func(name string, file *ast.File)) {
	t.Helper()
	err := fs.WalkDir(sourcesOf(t), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".go" || !counts(name) {
			return err
		}
		text, err := fs.ReadFile(sourcesOf(t), name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err == nil {
			do(name, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stepFiles are the files of package step by their names.
func stepFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	forEachCounted(t, func(name string, file *ast.File) {
		if path.Dir(name) == StepDir {
			files[path.Base(name)] = file
		}
	})
	return files
}

// allKinds returns the kinds of all steps.
func allKinds(t *testing.T) []string {
	t.Helper()
	var kinds []string
	for _, file := range stepFiles(t) {
		kinds = append(kinds, kindsIn(file)...)
	}
	if slices.Sort(kinds); !slices.Contains(kinds, "debootstrap") {
		t.Fatalf("the kinds of steps are %v", kinds)
	}
	return kinds
}

// kindsIn returns the kinds of the steps that a file declares.
func kindsIn(file *ast.File) []string {
	var kinds []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv == nil || f.Name.Name != "Kind" {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok {
				kind, _ := strconv.Unquote(text.Value)
				kinds = append(kinds, kind)
			}
			return true
		})
	}
	return kinds
}

// uses returns what a file uses of another one in the same package. A value is of a type, or comes from a function or a
// variable, that a file on the way to it names: so methods of the other file's own types need not be looked for.
func uses(user, of *ast.File) []string {
	var used []string
	types, names, methods := declared(of)
	for _, id := range user.Unresolved { // in the file itself
		if slices.Contains(types, id.Name) || slices.Contains(names, id.Name) {
			used = append(used, id.Name)
		}
	}
	ast.Inspect(user, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(methods, s.Sel.Name) {
			used = append(used, s.Sel.Name)
		}
		return true
	})
	return used
}

// declared returns the types, the other names and the methods of other files' types that a file declares.
func declared(file *ast.File) (types, names, methods []string) {
	for _, d := range file.Decls {
		if d, ok := d.(*ast.GenDecl); ok {
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					types = append(types, s.Name.Name)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	for _, d := range file.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil {
			names = append(names, d.Name.Name)
		} else if ok && !slices.Contains(types, receiver(d)) {
			methods = append(methods, d.Name.Name)
		}
	}
	return types, names, methods
}

// functionsAndVariables returns the functions and variables of a file.
func functionsAndVariables(file *ast.File) []string {
	var names []string
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
					for _, n := range v.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// receiver returns the type of a method.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	return t.(*ast.Ident).Name
}

// subset reports whether all of a is in b.
func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(kind string) bool { return !slices.Contains(b, kind) })
}
