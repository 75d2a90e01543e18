import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindowedKStream;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateStore;

/**
 * Runs Kafka Streams' test driver over random streams of records and writes down which records each
 * window held when it was final. For intervals the two ways to a final result, on window close and
 * suppressed, must agree.
 */
public class Scenarios {
    static final int PER_KIND = 84;
    static final int DIFFERING = 8;
    static final long BASE_MS = 1_000_000;
    static final long KEPT_MS = 100_000;
    static final String FLUSH = "flush";
    static final int COVERED_AT_LEAST = 60;

    enum Kind { TUMBLING, HOPPING, SESSION }

    record Input(String key, long timeMs) {}

    record Result(String key, long start, long end, List<Integer> values) {}

    record Run(List<Result> windows, int dropped) {}

    /** What the inputs reach, so that a file without the cases it is for cannot be written. */
    static final Map<String, Integer> covers = new TreeMap<>();

    static void cover(String what) {
        covers.merge(what, 1, Integer::sum);
    }

    /** The settings of one scenario, and its records as they are made. */
    static class Scenario {
        final Kind kind;
        final long seed;
        final Random random;
        final long size;
        final long advance;
        final long grace;
        final boolean mayTouchClosed;
        final List<Input> inputs = new ArrayList<>();
        final Map<String, List<long[]>> sessions = new HashMap<>();
        boolean touchedClosed;
        long now = BASE_MS;

        Scenario(Kind kind, long seed, boolean mayTouchClosed) {
            this.kind = kind;
            this.seed = seed;
            this.mayTouchClosed = mayTouchClosed;
            random = new Random(seed);
            size = 5 + random.nextInt(40);
            advance = kind == Kind.HOPPING ? Math.max(1, random.nextBoolean() ? size / (2 + random.nextInt(5)) : 1 + random.nextInt((int) size)) : size;
            grace = random.nextInt(4) == 0 ? 0 : random.nextInt(kind == Kind.SESSION ? 150 : 60);
            int count = 20 + random.nextInt(25);
            int keys = 1 + random.nextInt(3);
            while (inputs.size() < count) {
                add(String.valueOf((char) ('a' + random.nextInt(keys))));
            }
        }

        long floor(long t, long step) {
            return t - Math.floorMod(t, step);
        }

        void add(String key) {
            long t = inputs.isEmpty() ? now : kind == Kind.SESSION ? sessionTime(key) : intervalTime();
            if (kind == Kind.SESSION && !join(key, t)) {
                return;
            }
            now = Math.max(now, t);
            inputs.add(new Input(key, t));
        }

        /** Tumbling and hopping: near now, on boundaries, and at both sides of the edge of grace. */
        long intervalTime() {
            switch (random.nextInt(7)) {
            case 0:
                cover("interval: exactly at a window's end");
                return floor(now, advance) + (random.nextInt(3) - 1) * advance + size;
            case 1:
                return floor(now, advance) + size - 1;
            case 2: /* time comes to the end of a window and its grace, or misses it by 1 */
                return Math.max(now, floor(now, advance) + size + grace - random.nextInt(2));
            case 3: /* the first start that is late by its last window, or the last that is not */
                long start = floor(now - grace - size, advance);
                if (start + size == now - grace) {
                    cover("interval: late at the exact edge of grace");
                    return start;
                }
                cover("interval: in time by one window");
                return start + advance;
            case 4:
                return now - random.nextInt((int) (size + grace + 10));
            default:
                return now + random.nextInt((int) size);
            }
        }

        long sessionTime(String key) {
            List<long[]> open = sessions.getOrDefault(key, List.of()).stream()
                .filter(s -> mayTouchClosed || s[1] >= now - grace - size).collect(Collectors.toList());
            long[] near = open.isEmpty() ? new long[] {now, now, 0} : open.get(random.nextInt(open.size()));
            switch (random.nextInt(10)) {
            case 0:
                return near[1] + size;
            case 1:
                return near[1] + size + 1;
            case 2:
                return near[0] - size;
            case 3:
                return near[0] - size - 1;
            case 4:
            case 7:
                return between(open, near);
            case 5: /* the last moment at which one alone is in time, and the one before it */
                return now - grace - size - random.nextInt(2);
            case 6:
                return now - random.nextInt((int) (size + grace + 10));
            default:
                return now + random.nextInt((int) (3 * size));
            }
        }

        /** Near two open sessions, where there are such; the more so when one was merged already. */
        long between(List<long[]> open, long[] near) {
            long[][] pair = null;
            for (long[] a : open) {
                for (long[] b : open) {
                    boolean fits = b[0] > a[1] && b[0] - a[1] <= 2 * size;
                    if (fits && (pair == null || a[2] + b[2] > 0)) {
                        pair = new long[][] {a, b};
                    }
                }
            }
            if (pair == null) {
                return near[1] + 1 + random.nextInt((int) size);
            }
            return pair[0][1] + size - random.nextInt((int) (pair[0][1] + 2 * size - pair[1][0] + 1));
        }

        /**
         * Follows the sessions of a key, to know what the record reaches. False where it would revive a
         * session that is closed: Kafka Streams does that, we do not.
         */
        boolean join(String key, long t) {
            long close = Math.max(now, t) - grace - size;
            List<long[]> mine = sessions.computeIfAbsent(key, k -> new ArrayList<>());
            List<long[]> near = mine.stream().filter(s -> t >= s[0] - size && t <= s[1] + size).collect(Collectors.toList());
            boolean late = t < close && near.stream().noneMatch(s -> s[1] >= close);
            boolean revives = !late && near.stream().anyMatch(s -> s[1] < close);
            if (revives && !mayTouchClosed) {
                return false;
            }
            touchedClosed |= revives;
            if (late) {
                cover("session: late");
                if (t == close - 1) {
                    cover("session: late at the exact edge of grace");
                }
                return true;
            }
            if (t == close) {
                cover("session: in time at the exact edge of grace");
            }
            long[] all = {t, t};
            for (long[] s : near) {
                if (t == s[1] + size || t == s[0] - size) {
                    cover("session: exactly the gap apart");
                }
                all[0] = Math.min(all[0], s[0]);
                all[1] = Math.max(all[1], s[1]);
            }
            if (mine.stream().anyMatch(s -> t == s[1] + size + 1 || t == s[0] - size - 1)) {
                cover("session: one more than the gap apart");
            }
            if (near.size() == 2) {
                cover("session: two merged by a record");
                if (near.stream().anyMatch(s -> s[2] == 1)) {
                    cover("session: a third merged with two");
                }
            }
            long merged = near.size() == 2 || near.stream().anyMatch(s -> s[2] == 1) ? 1 : 0;
            mine.removeAll(near);
            mine.add(new long[] {all[0], all[1], merged});
            return true;
        }

        Topology topology(boolean onClose) {
            StreamsBuilder builder = new StreamsBuilder();
            KGroupedStream<String, String> grouped = builder.<String, String>stream("in").groupByKey();
            KTable<Windowed<String>, String> table;
            EmitStrategy emit = onClose ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
            if (kind == Kind.SESSION) {
                SessionWindowedKStream<String, String> windowed = grouped
                    .windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofMillis(size), Duration.ofMillis(grace)))
                    .emitStrategy(emit);
                table = windowed.aggregate(() -> "", (k, v, all) -> join(all, v), (k, a, b) -> join(a, b),
                    materialized());
            } else {
                TimeWindowedKStream<String, String> windowed = grouped
                    .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMillis(size), Duration.ofMillis(grace))
                        .advanceBy(Duration.ofMillis(advance)))
                    .emitStrategy(emit);
                table = windowed.aggregate(() -> "", (k, v, all) -> join(all, v),
                    materialized());
            }
            if (!onClose) {
                table = table.suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()));
            }
            table.toStream((w, v) -> w.key() + " " + w.window().start() + " " + w.window().end()).to("out");
            return builder.build();
        }

        /** Kept so long that no store forgets what the windows' own rule still takes. */
        <S extends StateStore> Materialized<String, String, S> materialized() {
            return Materialized.<String, String, S>with(Serdes.String(), Serdes.String())
                .withRetention(Duration.ofMillis(size + grace + KEPT_MS));
        }

        static String join(String a, String b) {
            return a.isEmpty() ? b : b.isEmpty() ? a : a + "," + b;
        }

        Run run(boolean onClose) {
            Properties config = new Properties();
            config.put(StreamsConfig.APPLICATION_ID_CONFIG, "scenarios");
            config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
            config.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
            config.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
            config.put(StreamsConfig.DEFAULT_DSL_STORE_CONFIG, StreamsConfig.IN_MEMORY);
            /* Otherwise windows close with the wall clock's seconds, which stands still here. */
            config.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
            List<Result> windows = new ArrayList<>();
            try (TopologyTestDriver driver = new TopologyTestDriver(topology(onClose), config)) {
                var in = driver.createInputTopic("in", new StringSerializer(), new StringSerializer());
                var out = driver.createOutputTopic("out", new StringDeserializer(), new StringDeserializer());
                for (int i = 0; i < inputs.size(); i++) {
                    in.pipeInput(inputs.get(i).key(), String.valueOf(i), inputs.get(i).timeMs());
                }
                in.pipeInput(FLUSH, "", now + 2 * size + grace + 1000);
                for (var pair : out.readKeyValuesToList()) {
                    String[] words = pair.key.split(" ");
                    List<Integer> values = Arrays.stream(pair.value.split(",")).map(Integer::valueOf).sorted().collect(Collectors.toList());
                    windows.add(new Result(words[0], Long.parseLong(words[1]), Long.parseLong(words[2]), values));
                }
                int dropped = driver.metrics().entrySet().stream()
                    .filter(e -> e.getKey().name().equals("dropped-records-total"))
                    .mapToInt(e -> ((Double) e.getValue().metricValue()).intValue()).sum();
                return new Run(windows, dropped);
            }
        }
    }

    static String text(Scenario s, Run run, boolean differs) {
        String inputs = s.inputs.stream().map(i -> "[\"" + i.key() + "\"," + i.timeMs() + "]").collect(Collectors.joining(","));
        String windows = run.windows().stream()
            .map(w -> "[\"" + w.key() + "\"," + w.start() + "," + w.end() + "," + w.values().toString().replace(" ", "") + "]")
            .sorted().collect(Collectors.joining(","));
        return "{\"kind\":\"" + s.kind.name().toLowerCase() + "\",\"seed\":" + s.seed
            + (s.kind == Kind.SESSION ? ",\"gap\":" + s.size : ",\"size\":" + s.size + ",\"advance\":" + s.advance)
            + ",\"grace\":" + s.grace + ",\"differs\":" + differs + ",\n \"records\":[" + inputs
            + "],\n \"dropped\":" + run.dropped() + ",\"windows\":[" + windows + "]}";
    }

    /** Sessions on close alone: suppressed ones are given out 1 ms before the last record they still take. */
    static Run checked(Scenario s) {
        Run close = s.run(true);
        if (s.kind == Kind.SESSION) {
            return close;
        }
        Run suppressed = s.run(false);
        if (!new HashSet<>(close.windows()).equals(new HashSet<>(suppressed.windows()))
            || close.windows().size() != suppressed.windows().size() || close.dropped() != suppressed.dropped()) {
            throw new IllegalStateException("the two ways differ: " + text(s, close, false) + "\n" + text(s, suppressed, false));
        }
        return close;
    }

    public static void main(String[] args) throws IOException {
        List<Scenario> scenarios = new ArrayList<>();
        for (Kind kind : Kind.values()) {
            for (int i = 0; i < PER_KIND; i++) {
                scenarios.add(new Scenario(kind, kind.ordinal() * 1000 + i, false));
            }
        }
        Map<String, Integer> reached = new TreeMap<>(covers);
        if (Collections.min(reached.values()) < COVERED_AT_LEAST) {
            throw new IllegalStateException("too few of some case: " + reached);
        }
        List<String> all = new ArrayList<>();
        for (Scenario s : scenarios) {
            all.add(text(s, checked(s), false));
        }
        for (long seed = 9000, found = 0; found < DIFFERING; seed++) {
            Scenario s = new Scenario(Kind.SESSION, seed, true);
            if (s.touchedClosed) {
                all.add(text(s, s.run(true), true));
                found++;
            }
        }
        String counts = reached.entrySet().stream().map(e -> "\"" + e.getKey() + "\":" + e.getValue()).collect(Collectors.joining(",\n"));
        Files.writeString(Path.of(args[0]), "{\"kafka-streams\":\"" + System.getProperty("kafka.version") + "\",\n\"covers\":{\n" + counts
            + "},\n\"scenarios\":[\n" + String.join(",\n", all) + "]}\n");
    }
}
