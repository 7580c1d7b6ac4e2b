import java.io.Reader;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.pattern.PatternReplaceCharFilter;
import org.opensearch.common.settings.Settings;
import org.opensearch.index.IndexSettings;
import org.opensearch.index.analysis.AbstractCharFilterFactory;
import org.opensearch.index.analysis.CharFilterFactory;
import org.opensearch.index.analysis.NormalizingCharFilterFactory;
import org.opensearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.opensearch.ingest.AbstractProcessor;
import org.opensearch.ingest.ConfigurationUtils;
import org.opensearch.ingest.IngestDocument;
import org.opensearch.ingest.Processor;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.AnalysisPlugin;
import org.opensearch.plugins.IngestPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.transport.Netty4Plugin;

/**
 * A node with its REST server, and with what distributions have in modules and tests need: the ingest processor "set"
 * (field, value), and the character filter "pattern_replace".
 */
public class TestNode extends Node {
    private TestNode(Settings settings) {
        super(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "test-node"), List.of(Netty4Plugin.class, TestPlugin.class), false);
    }

    /** Runs a node on 127.0.0.1 until it is killed. The arguments are its port, and the folder of its data. */
    public static void main(String[] args) throws Exception {
        Node node = new TestNode(Settings.builder()
            .put("path.home", args[1])
            .put("path.data", Path.of(args[1], "data").toString())
            .put("network.host", "127.0.0.1")
            .put("http.port", args[0])
            .put("transport.port", 0)
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build());
        node.start();
        new CountDownLatch(1).await();
    }

    public static class TestPlugin extends Plugin implements AnalysisPlugin, IngestPlugin {
        @Override
        public Map<String, AnalysisProvider<CharFilterFactory>> getCharFilters() {
            return Map.of("pattern_replace",
                AnalysisPlugin.requiresAnalysisSettings((index, env, name, settings) -> new PatternReplace(index, name, settings)));
        }

        @Override
        public Map<String, Processor.Factory> getProcessors(Processor.Parameters parameters) {
            return Map.of("set", (factories, tag, description, config) -> {
                String field = ConfigurationUtils.readStringProperty("set", tag, config, "field");
                Object value = ConfigurationUtils.readObject("set", tag, config, "value");
                return new AbstractProcessor(tag, description) {
                    @Override
                    public IngestDocument execute(IngestDocument document) {
                        document.setFieldValue(field, value);
                        return document;
                    }

                    @Override
                    public String getType() {
                        return "set";
                    }
                };
            });
        }
    }

    /** One of the character filters that a normalizer may have. */
    private static class PatternReplace extends AbstractCharFilterFactory implements NormalizingCharFilterFactory {
        private final Pattern pattern;
        private final String replacement;

        PatternReplace(IndexSettings index, String name, Settings settings) {
            super(index, name);
            pattern = Pattern.compile(settings.get("pattern"));
            replacement = settings.get("replacement", "");
        }

        @Override
        public Reader create(Reader in) {
            return new PatternReplaceCharFilter(pattern, replacement, in);
        }
    }
}
