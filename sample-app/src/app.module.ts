/**
 * The sample application: cities of the world in an embedded store. Everything it knows is in one directory, and most
 * of it does not fit into the memory it may use; see README.md.
 */
import { type MiddlewareConsumer, Module, type NestModule } from '@nestjs/common';
import { KvModule } from 'nestjs-hotcold';
import { CitiesModule } from './cities/cities.module.js';
import { PageModule } from './page/page.module.js';
import { RequestCost } from './page/request-cost.js';

@Module({
  imports: [
    KvModule.forRootAsync({
      useFactory: () => ({
        path: process.env.DATA ?? './data/cities',
        // Small, so that there is something in both tiers: 14 MB of cities.
        hot: { memory: process.env.HOT_MEMORY ?? '8mb', diskBudget: '8mb', segmentSize: '2mb' },
        cold: { segmentSize: '2mb' },
      }),
    }),
    CitiesModule,
    PageModule,
  ],
})
export class AppModule implements NestModule {
  configure(consumer: MiddlewareConsumer) {
    consumer.apply(RequestCost).forRoutes('*path');
  }
}
