"""A plugin that lets the published test distribution of Elasticsearch keep API keys.

API keys are documents of the index ``.security-7``, whose analyzer of e-mail addresses needs three parts of the module
``analysis-common``, which that distribution lacks and which isn't published by itself. Lucene, which is there, has the
parts; the plugin gives them their names. No key depends on how e-mail addresses are cut up, so that Lucene's own filter
of repeated tokens does in the place of Elasticsearch's.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from racksort.dev.maven import Artifact

COMPILER: Final = Artifact(
    "org.eclipse.jdt", "ecj", "3.38.0", "jar", "97c566b120009c203a2fc8b291f4a9adbc171cf1ccb70f06f6b4e1828c00ce8e"
)
"""Eclipse's compiler runs on a Java runtime, which brings none of its own."""
_RELEASE: Final = "21"
"""The least Java that Elasticsearch 9 runs on."""
_SOURCE: Final = """\
package racksort;

import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.elasticsearch.index.analysis.PreConfiguredTokenFilter;
import org.elasticsearch.index.analysis.PreConfiguredTokenizer;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

public final class SecurityAnalysis extends Plugin implements AnalysisPlugin {
    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of("pattern_capture", (index, environment, name, settings) -> {
            Pattern[] patterns = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
            boolean whole = settings.getAsBoolean("preserve_original", true);
            return new TokenFilterFactory() {
                @Override
                public String name() {
                    return name;
                }

                @Override
                public TokenStream create(TokenStream input) {
                    return new PatternCaptureGroupTokenFilter(input, whole, patterns);
                }
            };
        });
    }

    @Override
    public List<PreConfiguredTokenFilter> getPreConfiguredTokenFilters() {
        return List.of(PreConfiguredTokenFilter.singleton("unique", false, RemoveDuplicatesTokenFilter::new));
    }

    @Override
    public List<PreConfiguredTokenizer> getPreConfiguredTokenizers() {
        return List.of(PreConfiguredTokenizer.singleton("uax_url_email", UAX29URLEmailTokenizer::new));
    }
}
"""
_DESCRIPTOR: Final = f"""\
name=racksort-security-analysis
description=The analysis that the index of API keys needs
version=1
classname=racksort.SecurityAnalysis
java.version={_RELEASE}
elasticsearch.version=%s
"""


def install(home: Path, version: str, java: Path, compiler: Path, work: Path) -> None:
    """Compile the plugin against the Elasticsearch in ``home`` and put it there; ``work`` is for files on the way.

    Raises:
        RacksortError: it doesn't compile.
    """
    source = work / "racksort" / "SecurityAnalysis.java"
    source.parent.mkdir()
    source.write_text(_SOURCE)
    classes = work / "classes"
    libraries = os.pathsep.join(str(path) for path in sorted((home / "lib").glob("*.jar")))
    ended = subprocess.run(  # noqa: S603 - no shell
        [str(java / "bin" / "java"), "-jar", str(compiler), "-nowarn", "-source", _RELEASE, "-target", _RELEASE,
         "-cp", libraries, "-d", str(classes), str(source)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        said = " ".join(ended.stdout.split()) or f"status {ended.returncode}"
        raise RacksortError(f"the plugin for API keys can't be compiled for Elasticsearch {version}: {said[:300]}")
    plugin = home / "plugins" / "racksort-security-analysis"
    plugin.mkdir(parents=True)
    (plugin / "plugin-descriptor.properties").write_text(_DESCRIPTOR % version)
    with zipfile.ZipFile(plugin / "security-analysis.jar", "w") as jar:
        for path in sorted(classes.rglob("*.class")):
            jar.write(path, path.relative_to(classes))
